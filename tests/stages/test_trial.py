"""A sweep's trial: the stages themselves in a scratch folder, and nothing of the test patients."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from angiosynth.data.cohort import load_split
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.experiments.sweep import SweepResult, TrialRow, trial_settings
from angiosynth.stages import workspace
from angiosynth.stages.trial import result_table, trial_of
from angiosynth.stages.workspace import Workspace
from tests.stages.conftest import SETTINGS

VALUES = {"critic_iterations": 1, "gradient_penalty_weight": 5.0}


def test_a_trial_reads_no_test_patient(home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = load_split(home.splits, "site-a")
    for name in split.test:
        shutil.rmtree(Path("lab", "a", name))
    read: list[str] = []

    def noted(*parts: object) -> Scan:
        read.append((scan := load_scan(*parts)).patient)  # type: ignore[arg-type]
        return scan

    monkeypatch.setattr(workspace, "load_scan", noted)
    before = sorted(path for path in Path().rglob("*") if path.is_file())
    score = trial_of("wgan-gp")(trial_settings(SETTINGS, "wgan-gp", VALUES), tmp_path / "scratch", "", 0)
    assert 0 <= score.dsc <= 1
    assert math.isfinite(score.hd95_mm)
    assert set(read) == set(split.validation)
    assert sorted(path for path in Path().rglob("*") if path.is_file()) == before  # all went to the scratch folder
    assert (tmp_path / "scratch" / "models" / "unet" / "wgan-gp" / "unet.json").is_file()


def test_the_same_trial_scores_the_same(home: Workspace, tmp_path: Path) -> None:
    del home
    settings = trial_settings(SETTINGS, "dcgan", {"critic_iterations": 1})
    assert trial_of("dcgan")(settings, tmp_path / "one", "", 0) == trial_of("dcgan")(settings, tmp_path / "two", "", 1)


def test_the_result_table_stars_the_front() -> None:
    good = TrialRow(0, "complete", {"learning_rate_critic": 0.00051234}, 0.61234, 7.891, "", 3.0, "")
    bad = TrialRow(1, "failed", {"learning_rate_critic": 0.9}, None, None, "diverged", 3.0, "")
    lines = result_table(SweepResult("wgan-gp-abc", "wgan-gp", (good, bad), (good,), Path("mlruns/sweeps/wgan-gp-abc"), False)).splitlines()
    assert lines == [
        "study wgan-gp-abc: 2 trials, tables in wgan-gp-abc/",
        "*   0 complete: DSC 0.612, 95HD 7.89 mm (learning_rate_critic 0.0005123)",
        "    1 failed: diverged (learning_rate_critic 0.9)",
    ]
