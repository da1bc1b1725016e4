"""A scan that the project has never seen: right in its own grid, or one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.data.bids import Patient
from angiosynth.data.intensity import load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.errors import InputError
from angiosynth.runtime import progress
from angiosynth.runtime.output import read_json, write_json
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import UNET_FILES
from angiosynth.segmentation.unet import build_unet
from angiosynth.tracking.runs import RunSpec, training_run
from angiosynth.verbs import segment as stage
from angiosynth.verbs.segment import loaded_model, segment
from tests.factories import make_arrays, write_nifti
from tests.stages.conftest import RULE
from tests.stores import empty_store

nib: Any = nibabel
SHAPE = (40, 36, 7)


def _files(folder: Path, orientation: str = "RAS") -> tuple[Path, Path]:
    image, brain, _ = make_arrays(SHAPE, 2)
    scan = write_nifti(folder / f"in-{orientation}.nii.gz", image, orientation=orientation)
    return scan, write_nifti(folder / f"brain-{orientation}.nii.gz", brain, orientation=orientation)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR", "LPS", "SRP"])
def test_the_mask_is_the_unets_in_the_scans_own_grid(tmp_path: Path, model: Path, orientation: str) -> None:
    scan, brain = _files(tmp_path, orientation)
    told = segment(scan, tmp_path / "out.nii.gz", brain, str(model))
    loaded = load_scan(Patient("p", scan, brain, None), RULE)
    with loaded_model(str(model), model) as (segmenter, _, _):
        expected = segmenter.segment(loaded.image, loaded.brain)
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(loaded.brain)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii.gz").array > 0.5, expected)
    written, source = nib.load(tmp_path / "out.nii.gz"), nib.load(scan)
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.shape == source.shape
    assert f"{np.count_nonzero(expected)} vessel voxels" in told
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_intensity_rule_is_the_models_own(tmp_path: Path, model: Path) -> None:
    scan, brain = _files(tmp_path)
    segment(scan, tmp_path / "one.nii", brain, str(model))
    facts = read_json(model / "unet.json")
    write_json(model / "unet.json", {**facts, "intensity": {"rule": "volume", "low": 40.0, "high": 60.0}})
    segment(scan, tmp_path / "two.nii", brain, str(model))
    assert (tmp_path / "one.nii").read_bytes() != (tmp_path / "two.nii").read_bytes()


def test_without_a_mask_the_whole_volume_is_searched_and_that_is_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, brain = _files(tmp_path)
    segment(scan, tmp_path / "out.nii", None, str(model))
    assert "no brain mask" in capsys.readouterr().err
    outside = read_volume(brain).array < 0.5
    assert (read_volume(tmp_path / "out.nii").array[outside] > 0.5).any()


def test_a_model_from_mlflow_by_run_version_and_alias(
    tmp_path: Path, model: Path, mlflow_tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty_store(tmp_path, mlflow_tables)
    monkeypatch.delenv("ANGIOSYNTH_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    scan, brain = _files(tmp_path)
    segment(scan, tmp_path / "folder.nii", brain, str(model))
    with training_run(RunSpec("unet", "unet real", stage="train-unet@real", settings={})) as run:
        for name in UNET_FILES:
            run.artifact(model / name)
        run.log_model(build_unet(2, 0.0, 1), np.zeros((2, 1, 16, 16), np.float32), "unet", register="unet-real")
    for uri in (f"runs:/{run.id}", "models:/unet-real/1"):
        segment(scan, tmp_path / "mlflow.nii", brain, uri, force=True)
        assert (tmp_path / "mlflow.nii").read_bytes() == (tmp_path / "folder.nii").read_bytes()
    for uri in ("models:/unet-real/7", "models:/unet-real@nobody", "models:/none/1", f"runs:/{'0' * 32}", "models:/", "runs:/../x"):
        with pytest.raises(InputError, match=r"none such|names no model") as caught:
            segment(scan, tmp_path / "never.nii", brain, uri)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "never.nii").exists()


def test_bad_input_is_one_line(tmp_path: Path, model: Path) -> None:
    scan, brain = _files(tmp_path)
    other = write_nifti(tmp_path / "other.nii", np.ones((4, 4, 4), np.uint8))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan.read_bytes()[:200])
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "unet.json").write_text("{}")
    cases: dict[str, tuple[Path, Path, Path | None, Path]] = {
        "name it .nii": (scan, tmp_path / "out.png", brain, model),
        "is an input": (scan, scan, brain, model),
        "no such model": (scan, tmp_path / "out.nii", brain, tmp_path / "nowhere"),
        "width: Field required": (scan, tmp_path / "out.nii", brain, damaged),
        "other.nii": (scan, tmp_path / "out.nii", other, model),
        "cut short": (cut, tmp_path / "out.nii", None, model),
        "cannot be read": (tmp_path / "missing.nii", tmp_path / "out.nii", None, model),
    }
    before = scan.read_bytes()
    for text, (image, target, mask, folder) in cases.items():
        with pytest.raises(InputError, match=text) as caught:
            segment(image, target, mask, str(folder))
        assert "\n" not in str(caught.value)
    assert scan.read_bytes() == before
    assert not (tmp_path / "out.nii").exists()


# Neighbours: the mask is there, the picture alone, both; as a file, a folder, a link to a file, to nothing.
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
@pytest.mark.parametrize("name", ["out.nii.gz", "out.png"])
def test_what_is_there_is_not_overwritten_unasked(tmp_path: Path, model: Path, name: str, kind: str) -> None:
    scan, brain = _files(tmp_path)
    path = tmp_path / name
    (tmp_path / "elsewhere").write_text("by hand")
    if kind == "file":
        path.write_text("by hand")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("elsewhere" if kind == "link" else "nowhere")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        segment(scan, tmp_path / "out.nii.gz", brain, str(model))
    assert str(caught.value).startswith(f"{path}: is ")
    assert "\n" not in str(caught.value)
    if kind == "file":
        assert "overwrite it with --force" in str(caught.value)
        assert path.read_text() == "by hand"
        segment(scan, tmp_path / "out.nii.gz", brain, str(model), force=True)
        assert path.read_bytes() != b"by hand"
        return
    with pytest.raises(InputError, match=r"name a file|name that file"):
        segment(scan, tmp_path / "out.nii.gz", brain, str(model), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "elsewhere").read_text() == "by hand"


def test_mask_and_picture_respect_the_umask(tmp_path: Path, model: Path) -> None:
    scan, brain = _files(tmp_path)
    before = os.umask(0o077)
    try:
        segment(scan, tmp_path / "out.nii.gz", brain, str(model))
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("out.nii.gz", "out.png")] == [0o600, 0o600]


def test_the_command(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, brain = _files(tmp_path)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    words = ["segment", str(scan), "-o", str(tmp_path / "new" / "out.nii.gz"), "--mask", str(brain), "--model", str(model)]
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    assert "vessel voxels" in done.output
    assert "segment in-RAS.nii.gz: 1/" in done.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.nii.gz", "out.png"]


def test_a_label_that_is_drawn_meanwhile_is_kept(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, brain = _files(tmp_path)
    real = Segmenter.segment

    def slow(self: Segmenter, *parts: Any) -> Any:
        (tmp_path / "out.nii.gz").write_text("by hand")
        return real(self, *parts)

    monkeypatch.setattr(Segmenter, "segment", slow)
    with pytest.raises(InputError, match="is there already"):
        segment(scan, tmp_path / "out.nii.gz", brain, str(model))
    assert (tmp_path / "out.nii.gz").read_text() == "by hand"
    assert not (tmp_path / "out.png").exists()


def test_a_full_disk_leaves_neither_mask_nor_picture(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the same command works once there is space."""
    scan, brain = _files(tmp_path)

    def full(*parts: Any) -> None:
        raise InputError("out.nii.gz: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_mask", full)
        with pytest.raises(InputError, match="No space left"):
            segment(scan, tmp_path / "out.nii.gz", brain, str(model))
    segment(scan, tmp_path / "out.nii.gz", brain, str(model))
