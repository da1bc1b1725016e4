"""Benchmarks of private evolution in a whole project and for real scans: their settings, stages and volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.settings import IntensitySettings
from benchmarks import private_project, private_real
from benchmarks.private_hospitals import HOSPITALS, INTENSITY
from tests.factories import make_cohort


def test_a_project_has_a_generator_for_each_epsilon_and_as_many_patients_as_its_splits(root: Path) -> None:
    settings = private_project.settings_of(root / "profiles" / "demo.yaml", [8.0, 0.01])
    assert list(settings.generators) == ["private-phantom-8", "private-phantom-0-01"]
    assert [one.epsilon for one in settings.generators.values() if isinstance(one, PrivatePhantomSettings)] == [8.0, 0.01]
    assert {name: scanner.patients for name, scanner in settings.phantom.sites.items()} == {"site-a": 36, "site-b": 5}
    assert settings.phantom.sites["site-a"].saturation == HOSPITALS[private_project.SOURCE].saturation
    assert settings.phantom.sites["site-b"].saturation == 0.4  # the demo's second scanner
    assert settings.transfer.patients == (1,)


def test_stages_run_once_and_in_an_order_in_which_each_finds_what_it_reads(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[tuple[str, ...]] = []
    made = {"phantom": "data/phantom", "cohort": "splits", "patches": "data/patches", "select_unet": "models/unet-choice.json"}
    made |= {"audit_references": "data/audit-references", "train_generator": "models/generators/{}", "synthesize": "data/synthetic/{}"}
    made |= {"train_unet": "models/unet/{}", "evaluate": "predictions/{}", "transfer": "metrics/transfer/{}.csv", "audit": "audit/{}"}

    def stage(name: str) -> Any:
        def run(settings: Any, home: Any, *model: str) -> None:
            ran.append((name, *model))
            Path(made[name].format(*model)).mkdir(parents=True)

        return run

    for name in made:
        monkeypatch.setattr(private_project, name, stage(name))
    settings = private_project.settings_of(root / "profiles" / "demo.yaml", [8.0])
    private_project.run_stages(settings)
    model = "private-phantom-8"
    needed = [("train_generator", model), ("synthesize", model), ("train_unet", model), ("transfer", model), ("audit", model)]
    assert [one for one in ran if one in needed] == needed
    assert ran.index(("audit_references",)) > ran.index(("evaluate", "real"))  # it reads the U-net's predictions
    count = len(ran)
    private_project.run_stages(settings)
    assert len(ran) == count


def test_a_coarse_scan_is_the_mean_of_voxels_on_its_own_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_real, "FACTORS", (2, 2, 3))
    (patient,) = find_patients(make_cohort(tmp_path, 1, (41, 44, 7)))
    scan, fine = private_real.coarse(patient), load_scan(patient, IntensitySettings(**INTENSITY))
    assert scan.image.shape == (20, 22, 2)
    assert scan.spacing_mm == pytest.approx((1.6, 1.8, 3.3), rel=1e-3)
    for place in ((5, 6, 0), (10, 11, 1)):
        block = tuple(slice(at * factor, (at + 1) * factor) for at, factor in zip(place, (2, 2, 3), strict=True))
        assert scan.brain[place] == (fine.brain[block].mean() >= 0.5)
        assert scan.truth[place] == (fine.truth[block].mean() >= 0.5 and scan.brain[place])
    inside = scan.image[scan.brain]
    assert inside.min() == -1
    assert inside.max() == 1
    assert (scan.image[~scan.brain] == -1).all()


def test_the_grid_is_the_scans_mean_size_in_whole_steps() -> None:
    blank = [np.zeros(shape, bool) for shape in ((109, 140, 57), (115, 148, 55))]
    scans = [Scan("sub-1", one.astype(np.float32), one, one, (1.2, 1.2, 2.4), Path()) for one in blank]
    assert private_real.grid_of(scans) == {"shape": (112, 144, 56), "spacing_mm": (1.2, 1.2, 2.4)}
    assert private_real.grid_of([Scan("sub-1", np.zeros((9, 3, 1), np.float32), blank[0], None, (1, 1, 1), Path())])["shape"] == (8, 8, 8)
