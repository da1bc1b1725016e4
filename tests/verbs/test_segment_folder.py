"""Many scans at once, the report on them, and the device: what is written, and that no name of a patient is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.compute import precision
from angiosynth.data.bids import find_patients
from angiosynth.data.nifti import read_volume
from angiosynth.errors import InputError
from angiosynth.reading import file_digest
from angiosynth.verbs.segment import segment
from angiosynth.verbs.segment_folder import PREDICTED
from tests.factories import affine_of, make_arrays, make_cohort, write_nifti
from tests.foreign import write_meta, write_series

SHAPE = (40, 36, 7)


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(commands, ["segment", *map(str, words)])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    return done.exit_code, done.output


def lab_of(folder: Path) -> Path:
    """Two patients: NIfTI with a mask, and a DICOM series without."""
    scan, brain, _ = make_arrays(SHAPE, 1)
    write_nifti(folder / "Hans Mueller_tof.nii.gz", scan)
    write_nifti(folder / "Hans Mueller_brain.nii.gz", brain)
    write_series(folder / "Anna Maier_tof", make_arrays(SHAPE, 2)[0].astype("<i2"), affine_of())
    return folder


def test_a_bids_data_set_is_segmented_with_its_masks(tmp_path: Path, model: Path) -> None:
    site = make_cohort(tmp_path / "site", 2, SHAPE, labelled=False)
    target = tmp_path / "site" / "derivatives" / "unet"
    code, output = call(site, "-o", target, "--model", model)
    assert code == 0, output
    for patient in find_patients(site):
        mask = read_volume(target / patient.id / "anat" / f"{patient.id}{PREDICTED}.nii.gz").array
        segment(patient.image, tmp_path / f"{patient.id}.nii.gz", patient.brain, str(model))
        np.testing.assert_array_equal(mask, read_volume(tmp_path / f"{patient.id}.nii.gz").array)
        assert np.count_nonzero(mask) > 0
    # no prediction is taken for a label or a mask
    assert all(patient.label is None and patient.brain is not None for patient in find_patients(site))


def test_in_a_project_the_report_is_kept_in_lineage_without_names(tmp_path: Path, model: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")  # the working folder
    lab = lab_of(tmp_path / "lab")
    words = (lab, "-o", tmp_path / "out", "--scan", "*_tof", "--mask", "*_brain", "--model", model, "--report", tmp_path / "run.json")
    assert call(*words)[0] == 0
    (kept,) = (tmp_path / "lineage").iterdir()
    assert kept.name.startswith("segment-")
    assert kept.read_bytes() == (tmp_path / "run.json").read_bytes()
    assert call(*words, "--force")[0] == 0
    assert list((tmp_path / "lineage").iterdir()) == [kept]  # the same scans and model
    assert not any(name in kept.read_text() for name in ("Hans", "Mueller", "Anna", "Maier", str(tmp_path)))


def test_a_folder_of_any_formats(tmp_path: Path, model: Path) -> None:
    lab = lab_of(tmp_path / "lab")
    report = tmp_path / "run.json"
    code, output = call(lab, "-o", tmp_path / "out", "--scan", "*_tof", "--mask", "*_brain", "--model", model, "--report", report)
    assert code == 0, output
    assert len([line for line in output.splitlines() if "vessel voxels, " in line]) == 2
    names = ["Anna Maier_tof.nii.gz", "Anna Maier_tof.png", "Hans Mueller_tof.nii.gz", "Hans Mueller_tof.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    made = json.loads(report.read_text())
    assert [volume["brain_mask"] for volume in made["volumes"]] == [False, True]
    assert made["warnings"] == ["no brain mask: the whole volume was searched"]
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert not any(word in text for word in ("Hans", "Mueller", "Anna", "Maier", str(tmp_path), "MUELLER"))


def test_the_report_says_by_what_a_mask_was_made(tmp_path: Path, model: Path) -> None:
    scan, brain, _ = make_arrays(SHAPE, 1)
    path, mask = write_nifti(tmp_path / "tof.nii.gz", scan), write_nifti(tmp_path / "brain.nii.gz", brain)
    code, output = call(
        path, "-o", tmp_path / "out.nii.gz", "--mask", mask, "--model", model, "--report", tmp_path / "run.json", "--device", "cpu"
    )
    assert code == 0, output
    made: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    assert made["model"]["sha256"] == {name: file_digest(model / name).hexdigest() for name in ("unet.pt", "unet.json")}
    assert made["settings"]["device"] == "cpu"
    assert made["settings"]["intensity"] == {"rule": "volume", "low": 1.0, "high": 99.0}
    assert made["versions"]["torch"] == torch.__version__
    (volume,) = made["volumes"]
    written = read_volume(tmp_path / "out.nii.gz").array
    assert volume["sha256"] == file_digest(path).hexdigest()
    assert (volume["shape"], volume["vessel_voxels"]) == (list(SHAPE), np.count_nonzero(written))
    assert volume["vessel_ml"] == pytest.approx(np.count_nonzero(written) * 0.8 * 0.9 * 1.1 / 1000)
    assert volume["vessel_share"] == pytest.approx(np.count_nonzero(written) / np.count_nonzero(brain))
    assert volume["warnings"] == []


def test_a_bad_scan_keeps_no_other_from_its_mask(tmp_path: Path, model: Path) -> None:
    lab = lab_of(tmp_path / "lab")
    write_meta(lab / "Eva Braun_tof.mha", make_arrays(SHAPE, 3)[0].astype("<i2"), affine_of(), DimSize="40 36 900")
    code, text = call(
        lab, "-o", tmp_path / "out", "--scan", "*_tof", "--mask", "*_brain", "--model", model, "--report", tmp_path / "run.json"
    )
    assert code == 2
    assert text.splitlines()[0] == "segment: 1 of 3 scans have no mask; the others have one"
    assert "Eva Braun_tof.mha: is cut short" in text
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2
    volumes = json.loads((tmp_path / "run.json").read_text())["volumes"]
    assert [volume["fault"][:26] for volume in volumes] == ["", "volume 2: is cut short, 20", ""]
    assert "Eva" not in (tmp_path / "run.json").read_text()


def test_nothing_is_done_where_something_would_be_lost(tmp_path: Path, model: Path) -> None:
    lab = lab_of(tmp_path / "lab")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Hans Mueller_tof.png").write_text("by hand")
    words = (lab, "-o", tmp_path / "out", "--scan", "*_tof", "--mask", "*_brain", "--model", model)
    assert "is there already" in call(*words)[1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Hans Mueller_tof.png"]
    (tmp_path / "run.json").write_text("by hand")
    one = lab / "Hans Mueller_tof.nii.gz"
    cases = {
        "run.json: is there already": (one, "-o", tmp_path / "a.nii.gz", "--report", tmp_path / "run.json"),
        "is the mask or its picture": (one, "-o", tmp_path / "a.nii.gz", "--report", tmp_path / "a.png"),
        "is an input": (one, "-o", tmp_path / "a.nii.gz", "--report", one, "--force"),
        "is for a folder of scans": (one, "-o", tmp_path / "a.nii.gz", "--scan", "*_tof"),
        "no file is named as --scan": (lab, "-o", tmp_path / "b", "--scan", "*_none"),
        "no volume in it": (tmp_path / "out", "-o", tmp_path / "b"),
    }
    for text, parts in cases.items():
        code, said = call(*parts, "--model", model)
        assert (code, text in said) == (2, True), said
    assert not (tmp_path / "a.nii.gz").exists()


def test_patterns_are_not_for_bids_and_two_scans_never_share_a_mask(tmp_path: Path, model: Path) -> None:
    site = make_cohort(tmp_path / "site", 1, SHAPE)
    assert "leave --scan and --mask out" in call(site, "-o", tmp_path / "out", "--scan", "*", "--model", model)[1]
    lab = tmp_path / "lab"
    for name in ("a.nii", "a.nii.gz"):
        write_nifti(lab / name, make_arrays(SHAPE, 1)[0])
    assert "2 files as scan of one patient" in call(lab, "-o", tmp_path / "out", "--model", model)[1]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_missing_is_one_line(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    path = write_nifti(tmp_path / "tof.nii.gz", make_arrays(SHAPE, 1)[0])
    code, text = call(path, "-o", tmp_path / "out.nii.gz", "--model", model, "--device", device)
    assert code == 2
    assert text.startswith(f"--device {device}: torch {torch.__version__} has no GPU of ")
    assert "\n" not in text
    assert not (tmp_path / "out.nii.gz").exists()


def test_the_named_device_is_used_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with precision.on_device("cpu"):
        assert precision.device() == torch.device("cpu")
    with precision.on_device("auto"):
        assert precision.device() == torch.device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with precision.on_device("mps"):
        assert precision.device() == torch.device("mps")
        assert not precision.bfloat16_is_native(precision.device())
    assert precision.device() == torch.device("cuda")
