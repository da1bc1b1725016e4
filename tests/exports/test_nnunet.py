"""The raw data set of nnU-Net, and the program that scales real scans by the same rule."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from angiosynth.data.bids import Patient
from angiosynth.data.intensity import load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.exports import nnunet
from angiosynth.exports.base import Contents
from angiosynth.exports.receivers.scale_scan import main
from angiosynth.exports.writing import write_export
from angiosynth.release.identifiers import Identifiers
from angiosynth.runtime.output import read_json
from tests.factories import affine_of, make_arrays, write_nifti

nib: Any = nibabel


@pytest.fixture
def export(contents: Contents, tmp_path: Path) -> Path:
    write_export(nnunet.EXPORT, contents, tmp_path / "nnunet", Identifiers())
    return tmp_path / "nnunet"


def test_a_case_is_a_patch_of_one_slice(export: Path, contents: Contents) -> None:
    dataset = export / "Dataset501_demo-1"
    assert len(list((dataset / "imagesTr").iterdir())) == len(list((dataset / "labelsTr").iterdir())) == 12
    for number in (0, 11):
        image = read_volume(dataset / "imagesTr" / f"pair-000-{number:03d}_0000.nii.gz")
        label = read_volume(dataset / "labelsTr" / f"pair-000-{number:03d}.nii.gz")
        np.testing.assert_allclose(image.spacing_mm, (0.312, 0.312, 0.6), rtol=1e-6)
        np.testing.assert_array_equal(np.rint(image.array[:, :, 0] * 255), contents.pairs.image[number])
        np.testing.assert_array_equal(label.array[:, :, 0], contents.pairs.label[number])
        assert image.array.shape == label.array.shape == (16, 16, 1)
    description = read_json(dataset / "dataset.json")
    assert description["channel_names"] == {"0": "noNorm"}
    assert description["labels"] == {"background": 0, "vessel": 1}
    assert (description["numTraining"], description["file_ending"]) == (12, ".nii.gz")


def test_slices_are_apart_along_the_last_axis_even_where_they_are_thin(contents: Contents, tmp_path: Path) -> None:
    nnunet.write(replace(contents, spacing_mm=(0.8, 0.7, 0.5)), tmp_path)
    (image, *_) = sorted((tmp_path / "Dataset501_demo-1" / "imagesTr").iterdir())
    np.testing.assert_allclose(nib.load(image).header.get_zooms(), (0.8, 0.7, 0.8), rtol=1e-6)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SRA"])
def test_the_program_scales_a_scan_as_training_did(orientation: str, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, brain, label = make_arrays((20, 24, 5), 0)
    files = [
        write_nifti(tmp_path / name, array, affine_of(), orientation, "JANE")
        for name, array in (("scan.nii.gz", volume), ("brain.nii.gz", brain), ("label.nii.gz", label))
    ]
    scan = load_scan(Patient("scan", *files), contents_rule(export))
    for name, text in {"scale_scan.py": (export / "scale_scan.py").read_text(), "card.json": (export / "card.json").read_text()}.items():
        (tmp_path / name).write_text(text)
    outputs = [tmp_path / "out" / name for name in ("head_0000.nii.gz", "head.nii.gz")]
    words = [str(files[0]), "--brain", str(files[1]), "-o", str(outputs[0]), "--label", str(files[2]), str(outputs[1])]
    if orientation == "RAS":  # as a receiver runs it, in a process of its own
        subprocess.run([sys.executable, str(tmp_path / "scale_scan.py"), *words], check=True)
    else:
        monkeypatch.setattr("angiosynth.exports.receivers.scale_scan.__file__", str(tmp_path / "scale_scan.py"))
        monkeypatch.setattr(sys, "argv", ["scale_scan.py", *words])
        main()
    image, turned = (nib.load(path) for path in outputs)
    np.testing.assert_allclose(np.asarray(image.dataobj) * 2 - 1, scan.image, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(turned.dataobj) > 0, scan.truth)
    assert b"JANE" not in image.header.binaryblock


def test_the_program_refuses_a_mask_of_another_grid(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, brain, _ = make_arrays((20, 24, 5), 0)
    scan, mask = write_nifti(tmp_path / "scan.nii.gz", volume), write_nifti(tmp_path / "brain.nii.gz", brain[:, :, :4])
    monkeypatch.setattr("angiosynth.exports.receivers.scale_scan.__file__", str(export / "scale_scan.py"))
    monkeypatch.setattr(sys, "argv", ["scale_scan.py", str(scan), "--brain", str(mask), "-o", str(tmp_path / "out.nii.gz")])
    with pytest.raises(SystemExit, match="does not lie on the scan's grid"):
        main()


def contents_rule(export: Path) -> Any:
    from angiosynth.settings import IntensitySettings

    return IntensitySettings.model_validate(read_json(export / "card.json")["intensity"])
