"""Where things lie, digests of data, tables of curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace, data_digest, data_source, write_curve
from tests.stages.conftest import SETTINGS


def test_a_trials_outputs_lie_apart_from_its_inputs() -> None:
    home = Workspace(root=Path("scratch"))
    outputs = (home.generator("dcgan"), home.synthetic("dcgan"), home.unet("real"), home.predictions("real"), home.metrics, home.report)
    assert all(path.parts[0] == "scratch" for path in (*outputs, home.resume("stage", "key")))
    assert home.splits == Path("splits")
    assert home.patches("site-a") == home.training_patches(SETTINGS, "real") == Path("data/patches/site-a")
    assert home.training_patches(SETTINGS, "wgan-gp") == Path("scratch/data/synthetic/wgan-gp")
    assert home.site_root(SETTINGS, "site-b") == Path("lab/b")


def test_patients_come_in_the_order_of_their_names_given(home: Workspace) -> None:
    found = home.patients(SETTINGS, "site-a", ["sub-03", "sub-01"])
    assert [patient.id for patient in found] == ["sub-03", "sub-01"]
    assert home.patients(SETTINGS, "site-b", []) == []
    with pytest.raises(InputError, match=r"lab/a: patient sub-99 of splits/site-a\.json is not there"):
        home.patients(SETTINGS, "site-a", ["sub-01", "sub-99"])


def test_a_digest_changes_with_one_grey_level(home: Workspace) -> None:
    folder = home.patches("site-a")
    before = data_digest(folder)
    assert data_digest(folder) == before
    source = data_source(folder)
    assert (source.name, source.digest, source.path, source.rows) == ("patches-site-a", before, "data/patches/site-a", 80)
    for name in ("image.npy", "label.npy"):
        array = np.load(folder / name)
        array[0, 0, 0] ^= 1
        np.save(folder / name, array)
        assert data_digest(folder) != before
        array[0, 0, 0] ^= 1
        np.save(folder / name, array)
    assert data_digest(folder) == before


def test_a_missing_array_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image\.npy: cannot be read .*dvc repro"):
        data_digest(tmp_path)


def test_a_curve_has_one_row_a_step(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    write_curve(
        path, [{"step": 20, "loss": 0.5}, {"step": 40, "loss": 0.25}, {"step": 30, "probe_dsc": 0.1}, {"step": 40, "probe_dsc": 0.2}]
    )
    assert path.read_text().splitlines() == ["step,loss,probe_dsc", "20,0.5,", "30,,0.1", "40,0.25,0.2"]


def test_an_empty_curve_is_a_heading(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.csv", [])
    assert (tmp_path / "curve.csv").read_text() == "step\n"
