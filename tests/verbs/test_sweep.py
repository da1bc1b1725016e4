"""A sweep's trial: the stages themselves in a scratch folder, and nothing of the test patients."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml

from angiosynth import cli
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.project import workspace
from angiosynth.project.workspace import Workspace
from angiosynth.search.results import SweepResult, TrialRow, TrialScore
from angiosynth.search.space import model_values, trial_settings
from angiosynth.search.sweep import Sweep, run_sweep
from angiosynth.settings import Settings, load_settings
from angiosynth.verbs import sweep as trial
from angiosynth.verbs.sweep import ModelTrial, basis, result_table, show, sweep_apply, sweep_worker
from tests.stages.conftest import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
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
    score = ModelTrial("wgan-gp")(trial_settings(SETTINGS, "wgan-gp", VALUES), tmp_path / "scratch", "", 0)
    assert 0 <= score.dsc <= 1
    assert math.isfinite(score.hd95_mm)
    assert set(read) == set(split.validation)
    assert sorted(path for path in Path().rglob("*") if path.is_file()) == before  # all went to the scratch folder
    assert (tmp_path / "scratch" / "models" / "unet" / "wgan-gp" / "unet.json").is_file()


def test_the_same_trial_scores_the_same(home: Workspace, tmp_path: Path) -> None:
    del home
    settings = trial_settings(SETTINGS, "dcgan", {"critic_iterations": 1})
    assert ModelTrial("dcgan")(settings, tmp_path / "one", "", 0) == ModelTrial("dcgan")(settings, tmp_path / "two", "", 1)


def test_the_result_table_stars_the_front() -> None:
    good = TrialRow(0, "complete", {"learning_rate_critic": 0.00051234}, 0.61234, 7.891, "", 3.0, "")
    bad = TrialRow(1, "failed", {"learning_rate_critic": 0.9}, None, None, "diverged", 3.0, "")
    lines = result_table(SweepResult("wgan-gp-abc", "wgan-gp", (good, bad), (good,), Path("mlruns/sweeps/wgan-gp-abc"), False)).splitlines()
    assert lines == [
        "study wgan-gp-abc: 2 trials, tables in mlruns/sweeps/wgan-gp-abc/",
        "*   0 complete: DSC 0.612, 95HD 7.89 mm (learning_rate_critic 0.0005123)",
        "    1 failed: diverged (learning_rate_critic 0.9)",
    ]


def test_a_study_rests_on_validation_scans_training_patients_and_code(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on test patients' scans. A study with another basis is refused (tests/search/test_sweep.py)."""
    split, first = load_split(home.splits, "site-a"), basis(SETTINGS, home, "wgan-gp")
    shutil.rmtree(Path("lab", "a", split.test[0]))
    assert basis(SETTINGS, home, "wgan-gp") == first
    (patient,) = home.patients(SETTINGS, "site-a", split.validation[:1])
    assert patient.label is not None
    patient.label.write_bytes(patient.label.read_bytes() + b"0")
    assert {key for key, value in basis(SETTINGS, home, "wgan-gp").items() if first[key] != value} == {"validation_scans"}
    facts = json.loads((home.splits / "site-a.json").read_text())
    (home.splits / "site-a.json").write_text(json.dumps({**facts, "train": facts["train"][:1]}))
    monkeypatch.setattr(trial, "code_digest", lambda: "other")
    assert all(value != first[key] for key, value in basis(SETTINGS, home, "wgan-gp").items())


def graded(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    """Trial 1 is the knee: scaled to the front the sums are 1, 1.567 and 1."""
    return [TrialScore(0.5, 5.0), TrialScore(0.7, 6.0), TrialScore(0.8, 15.0)][number]


@pytest.mark.usefixtures("home")
def test_a_sweep_is_drawn_and_its_knee_written_into_params(capsys: pytest.CaptureFixture[str]) -> None:
    params = Path("params.yaml")
    shutil.copy(ROOT / "profiles" / "demo.yaml", params)
    settings = load_settings(params)
    draw = partial(show, home=Workspace())
    result = run_sweep(Sweep(settings, "wgan-gp", graded, Path()), 3, "study", draw=draw)
    content = Path("sweeps", "study.json").read_bytes()
    shown = json.loads(content)
    assert (shown["model"], shown["front"], shown["knee"]) == ("wgan-gp", [2, 1, 0], 1)
    assert [trial["val_dsc"] for trial in shown["trials"]] == [0.5, 0.7, 0.8]
    assert not [
        word for word in ("run_id", "seconds", str(Path.cwd()), *(row.run_id for row in result.trials)) if word in content.decode() and word
    ]
    assert run_sweep(Sweep(settings, "wgan-gp", graded, Path()), 3, "study", draw=draw).front == result.front
    assert Path("sweeps", "study.json").read_bytes() == content, "the report is not made anew for a study that has not changed"
    assert {path.name for path in result.folder.glob("*.png")} == {"front.png", "hypervolume.png", "importances.png", "parallel.png"}
    before = settings.model_dump(by_alias=True)

    cli.commands(["sweep-apply", "--study", "study"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "trial 1 (DSC 0.700, 95HD 6.00 mm on validation patients), rule knee: the greatest sum" in said
    tried = model_values(settings, "wgan-gp", result.trials[1].params)
    for name, value in tried.items():
        was = before["generators"]["wgan-gp"][name]
        assert f"params.yaml: generators.wgan-gp.{name}: {was} -> " in said or value == was
    after = load_settings(params).model_dump(by_alias=True)
    assert {name: after["generators"]["wgan-gp"][name] for name in tried} == tried
    after["generators"]["wgan-gp"] |= {name: before["generators"]["wgan-gp"][name] for name in tried}
    assert after == before, "nothing else changed, so no other generator runs again"

    assert "has these values already" in sweep_apply(params, "study", 1)
    assert "trial 2" in sweep_apply(params, "study", None, "dsc")
    with pytest.raises(InputError, match="trial 9 has no score; complete are 0, 1, 2"):
        sweep_apply(params, "study", 9)
    with pytest.raises(InputError, match="other: no such study; there are study"):
        sweep_apply(params, "other", None)


@pytest.mark.usefixtures("home")
def test_a_sweep_ended_by_hand_exits_like_any_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*parts: object) -> TrialScore:
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelTrial, "__call__", stopped)
    Path("params.yaml").write_text(yaml.safe_dump(SETTINGS.model_dump(mode="json", by_alias=True)))
    with pytest.raises(SystemExit) as caught:
        cli.app(lambda: cli.commands(["sweep", "--model", "dcgan", "--trials", "2", "--study", "mine"]))
    assert caught.value.code == 130
    assert "0 fail: interrupted" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_a_worker_for_a_study_that_nobody_has_begun() -> None:
    with pytest.raises(InputError, match="nothing was searched here yet"):
        sweep_worker(SETTINGS, Workspace(), "study")
    assert not Path("mlruns").exists()
