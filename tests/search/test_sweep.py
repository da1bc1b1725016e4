"""Sweeps on an analytic trial: a smooth score over the searched values, so that a whole study takes seconds."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from angiosynth.cli import app
from angiosynth.errors import InputError
from angiosynth.generators.gan.kinds import DcganSettings
from angiosynth.search.results import SweepResult, TrialScore, Value
from angiosynth.search.space import model_values, search_space, trial_settings
from angiosynth.search.study import existing
from angiosynth.search.sweep import Sweep, join_sweep, load_sweep, run_sweep
from angiosynth.search.workers import Pace
from angiosynth.settings import Settings, load_settings
from angiosynth.tracking.runs import DataSource, tracking_uri
from tests.search.trials import MODEL, analytic, faulty, generator_of, mortal
from tests.servers import PASSWORD, Postgres

pytestmark = pytest.mark.waits

ROOT = Path(__file__).resolve().parents[2]
COMMON = ["critic_iterations", "learning_rate_generator", "learning_rate_critic"]


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with MLflow."""
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "profiles" / "demo.yaml")


def changed(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update=values)})


def with_ranges(settings: Settings, **ranges: Any) -> Settings:
    return changed(settings, ranges=settings.sweep.ranges | ranges)


def proposals(result: SweepResult) -> list[dict[str, Value]]:
    return [row.params for row in result.trials]


def test_every_trial_is_accounted_for(root: Path, settings: Settings) -> None:
    given: list[tuple[int, str]] = []

    def trial(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        given.append((number, run_id))
        if number == 1:
            raise InputError("gan: diverged at step 12; lower the learning rates")
        if number == 2:
            return TrialScore(math.nan, 3.0)
        if number == 3:
            return TrialScore(0.0, 250.0)
        if number == 4:
            raise FloatingPointError("loss is infinite")
        return analytic(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(settings, MODEL, trial, root, data=DataSource("real", "d" * 64, "data/patches/site-a", 10)), 7, "accounted")
    assert [row.state for row in result.trials] == ["complete", "fail", "fail", "fail", "fail", "complete", "complete"]
    reasons = [row.reason for row in result.trials[1:5]]
    assert [word in reason for word, reason in zip(["diverged", "not finite", "no vessel", "infinite"], reasons, strict=True)] == [True] * 4
    assert not result.interrupted
    assert not any((root / ".work" / "sweeps" / "accounted").iterdir()), "scratch folders are removed"

    client: Any = MlflowClient(tracking_uri(root))
    experiment = client.get_experiment_by_name("sweep").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    (parent,) = [run for run in runs.values() if run.info.run_name == "accounted"]
    children = {run.info.run_id for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert {run_id for _, run_id in given} == children == {row.run_id for row in result.trials}
    for row in result.trials:
        child = runs[row.run_id]
        assert child.info.status == ("FINISHED" if row.state == "complete" else "FAILED")
        assert child.data.params["generator.critic_iterations"] == str(row.params["critic_iterations"])
        assert child.data.metrics == ({} if row.dsc is None else {"val_dsc": row.dsc, "val_hd95_mm": row.hd95_mm})
    assert parent.data.metrics["trials"] == 7
    assert parent.data.metrics["trials_failed"] == 4
    assert parent.data.metrics["val_dsc"] == max(row.dsc or 0.0 for row in result.trials)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"trials.csv", "front.json"}
    assert parent.inputs.dataset_inputs[0].dataset.name == "real"


@pytest.mark.usefixtures("untracked")
def test_values_that_led_to_nothing_are_left_alone(tmp_path: Path, settings: Settings) -> None:
    """The analytic optimum lies near where trials fail: a sampler that did not see the failures would go on proposing there."""

    def trial(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        if generator_of(drawn).learning_rate_generator < 2e-4:
            raise InputError("gan: diverged; raise the learning rate")
        return analytic(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(with_ranges(settings, learning_rate_generator=(5e-5, 1e-3)), MODEL, trial, tmp_path), 30)
    failed = [row.state == "fail" for row in result.trials]
    assert sum(failed[:10]) >= 2, "drawn at random"
    assert sum(failed[10:]) <= 10, "of twenty that the sampler proposed; all but three where it does not see failures"


@pytest.mark.usefixtures("untracked")
def test_table_and_front(tmp_path: Path, settings: Settings) -> None:
    result = run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 8, "front")
    assert result.folder == tmp_path / "mlruns" / "sweeps" / "front"
    with (result.folder / "trials.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [int(line["number"]) for line in table] == list(range(8))
    assert [float(line["val_dsc"]) for line in table] == [row.dsc for row in result.trials]
    scores = [(row.dsc or 0.0, row.hd95_mm or 0.0) for row in result.trials]
    undominated = {a for a in scores if not any(b[0] >= a[0] and b[1] <= a[1] and b != a for b in scores)}
    front = json.loads((result.folder / "front.json").read_text())
    assert [(point["val_dsc"], point["val_hd95_mm"]) for point in front["front"]] == sorted(undominated, reverse=True)
    assert len(undominated) > 1
    assert front["front"][0]["params"] == result.front[0].params


@pytest.mark.usefixtures("untracked")
def test_proposals_stay_in_their_ranges_and_reach_the_settings(tmp_path: Path, settings: Settings) -> None:
    seen: list[Settings] = []

    def trial(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        seen.append(drawn)
        return analytic(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(settings, MODEL, trial, tmp_path), 4)
    for drawn, params in zip(seen, proposals(result), strict=True):
        tried = {name: getattr(generator_of(drawn), name) for name in params}
        assert tried == model_values(settings, MODEL, params)
        assert set(params) == {*COMMON, "gradient_penalty_weight", "spectral_norm"}
        assert isinstance(generator_of(drawn).critic_iterations, int)
        assert params["spectral_norm"] in {"critic", "both"}
        for name in set(params) - {"spectral_norm"}:
            low, high = settings.sweep.ranges[name]
            assert low <= tried[name] <= high
            assert tried[name] == pytest.approx(params[name], rel=1e-3)
        seeds = [(generator_of(part).seed, part.synthesis.seed, part.unet.seed) for part in (drawn, settings)]
        assert seeds[0] == seeds[1], "trials differ by their values alone"
        assert (generator_of(drawn).steps, drawn.synthesis.pairs, drawn.unet.steps) == (600, 3000, 150)
        assert drawn.generators["wgan-gp"] == settings.generators["wgan-gp"], "other models are left alone"
        assert drawn.cohort == settings.cohort
    assert result.study.startswith(f"{MODEL}-")


def test_each_model_is_searched_for_what_it_has(settings: Settings) -> None:
    penalty, ends = "gradient_penalty_weight", ["real_target_low", "fake_target_high", "feature_matching_weight"]
    first, *rates = COMMON
    # In this order, which is that of the proposals: a study of the same seed has them anew.
    assert list(search_space(settings, "wgan-gp")) == [first, penalty, *rates]
    assert list(search_space(settings, MODEL)) == [first, penalty, *rates, "spectral_norm"]
    assert list(search_space(settings, "dcgan")) == [*COMMON, *ends]
    values: dict[str, Value] = {
        "critic_iterations": 2,
        "real_target_low": 0.812345,
        "fake_target_high": 0.1,
        "feature_matching_weight": 0.5,
    }
    drawn = trial_settings(settings, "dcgan", values).generator("dcgan")
    assert isinstance(drawn, DcganSettings)
    assert (drawn.critic_iterations, drawn.real_target, drawn.fake_target) == (2, (0.8123, 1.2), (0.0, 0.1))
    assert drawn.feature_matching_weight == 0.5


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize(
    ("sampler", "parts_of"), [("tpe", (2, 9)), ("random", (1, 2)), pytest.param("nsgaii", (2, 7), marks=pytest.mark.long)]
)
def test_same_seed_same_proposals_in_one_go_or_two(tmp_path: Path, settings: Settings, sampler: str, parts_of: tuple[int, int]) -> None:
    sweep = Sweep(changed(settings, sampler=sampler), MODEL, analytic, tmp_path)
    whole = run_sweep(sweep, sum(parts_of), "whole")
    run_sweep(sweep, parts_of[0], "parts")
    parts = run_sweep(sweep, sum(parts_of), "parts")
    assert proposals(parts) == proposals(whole)
    assert len({json.dumps(params) for params in proposals(whole)}) == sum(parts_of), "no proposal twice"
    other = run_sweep(Sweep(changed(sweep.settings, seed=2), MODEL, analytic, tmp_path), 1, "other")
    assert proposals(other)[0] != proposals(whole)[0]


@pytest.mark.usefixtures("untracked")
def test_a_gaussian_process_proposes_once_ten_trials_are_there(tmp_path: Path, settings: Settings) -> None:
    random, gp = changed(settings, sampler="random"), changed(settings, sampler="gp")
    chance = run_sweep(Sweep(random, MODEL, analytic, tmp_path / "random"), 11, "study")
    shutil.copytree(tmp_path / "random", tmp_path / "gp")
    process = run_sweep(Sweep(gp, MODEL, analytic, tmp_path / "gp"), 12, "study")
    assert process.trials[:11] == chance.trials, "a study may go on with another sampler"
    further = run_sweep(Sweep(random, MODEL, analytic, tmp_path / "random"), 12, "study")
    assert proposals(further)[11] != proposals(process)[11]


@pytest.mark.usefixtures("untracked")
def test_a_study_goes_on_only_with_what_it_began_with(tmp_path: Path, settings: Settings) -> None:
    run_sweep(Sweep(settings, MODEL, analytic, tmp_path, basis={"validation_scans": "e" * 16}), 1, "study")
    longer = settings.model_copy(update={"unet": settings.unet.model_copy(update={"width": 32})})
    cases = [
        (with_ranges(settings, critic_iterations=(1, 4)), MODEL, None, "search space"),
        (longer, MODEL, None, "settings"),
        (settings, "wgan-gp", None, "model"),
        (settings, MODEL, DataSource("real", "e" * 64, "data", 1), "data"),
    ]
    for other, model, data, word in cases:
        with pytest.raises(InputError, match=rf"study study: made with other.*{word}" if word != "another" else "made with another model"):
            run_sweep(Sweep(other, model, analytic, tmp_path, data=data), 1, "study")
    with pytest.raises(InputError, match=r"study study: made with other validation scans"):
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path, basis={"validation_scans": "f" * 16}), 2, "study")
    evaluation = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"bootstrap": 5})})
    assert len(run_sweep(Sweep(evaluation, MODEL, analytic, tmp_path), 2, "study").trials) == 2, "what trials do not depend on may change"


def test_ctrl_c_ends_cleanly_and_the_study_goes_on(root: Path, settings: Settings) -> None:
    def stopped(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        if number == 1:
            raise KeyboardInterrupt
        return analytic(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(settings, MODEL, stopped, root), 5, "stopped")
    assert result.interrupted
    assert [(row.state, row.reason) for row in result.trials] == [("complete", ""), ("fail", "interrupted")]
    assert (result.folder / "trials.csv").is_file()
    client: Any = MlflowClient(tracking_uri(root))
    runs_of = [client.get_experiment_by_name("sweep").experiment_id], "tags.mlflow.runName LIKE 'stopped%'"
    runs = client.search_runs(*runs_of)
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED", "KILLED"]
    again = run_sweep(Sweep(settings, MODEL, stopped, root), 2, "stopped")
    assert [row.state for row in again.trials] == ["complete", "fail", "complete"], "a trial stopped by hand does not count"
    assert len(client.search_runs(*runs_of)) == 4, "the sweep goes on in its own run"
    assert run_sweep(Sweep(settings, MODEL, stopped, root), 2, "stopped").trials == again.trials, "there is nothing left to do"


@pytest.mark.usefixtures("untracked")
def test_a_trial_that_a_batch_system_ends_does_not_count(tmp_path: Path, settings: Settings) -> None:
    def ended(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        raise SystemExit(143)  # as the GAN's training does on SIGTERM, once it has saved

    with pytest.raises(SystemExit):
        run_sweep(Sweep(settings, MODEL, ended, tmp_path), 1, "ended")
    again = run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1, "ended")
    assert [(row.state, row.reason) for row in again.trials] == [("fail", "interrupted"), ("complete", "")]


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("error", [InputError("data/patches/site-a: missing; run `dvc repro patches`"), RuntimeError("a mistake")])
def test_a_fault_that_every_trial_would_meet_ends_the_sweep(tmp_path: Path, settings: Settings, error: Exception) -> None:
    def trial(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        raise error

    with pytest.raises(type(error), match=str(error)[:10]):
        run_sweep(Sweep(settings, MODEL, trial, tmp_path), 3, "faulty")
    with (tmp_path / "mlruns" / "sweeps" / "faulty" / "trials.csv").open(newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert line["state"] == "fail"
    assert line["reason"].startswith("fault: ")
    assert str(error)[:10] in line["reason"]
    mended = run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 2, "faulty")
    assert [row.state for row in mended.trials] == ["fail", "complete", "complete"], "it does not count: nothing of it was tried"


@pytest.mark.usefixtures("untracked")
@pytest.mark.filterwarnings("ignore:Heartbeat of storage", "ignore:Argument ``heartbeat_interval``")
def test_a_killed_trial_is_tried_again(tmp_path: Path, settings: Settings) -> None:
    import optuna

    first = run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1, "killed")
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/mlruns/optuna.db", heartbeat_interval=1)
    study = optuna.load_study(study_name="killed", storage=storage)
    trial = study.ask()  # a worker that dies here leaves a running trial behind
    trial.suggest_int("critic_iterations", 1, 5)
    storage.record_heartbeat(trial._trial_id)
    storage.engine.dispose()
    time.sleep(2.1)
    result = run_sweep(Sweep(settings, MODEL, analytic, tmp_path, pace=Pace(1, 1, 0.1)), 2, "killed")
    assert [(row.state, row.reason) for row in result.trials] == [("complete", ""), ("fail", "killed"), ("complete", "")]
    assert [row.retry_of for row in result.trials] == [None, None, 1]
    assert result.trials[2].params["critic_iterations"] == result.trials[1].params["critic_iterations"]
    assert result.trials[0] == first.trials[0]


@pytest.mark.usefixtures("untracked")
def test_a_worker_joins_a_study_and_only_with_what_it_began_with(tmp_path: Path, settings: Settings) -> None:
    data = DataSource("real", "d" * 16, "data", 1)
    run_sweep(Sweep(settings, MODEL, analytic, tmp_path, data=data), 1, "joined")
    with existing(tmp_path, "joined") as study:
        study.set_attribute("goal", 3)
    assert join_sweep(tmp_path, "joined", lambda model: Sweep(settings, model, analytic, tmp_path, data)) == 3
    with pytest.raises(InputError, match="study joined: made with other data"):
        join_sweep(tmp_path, "joined", lambda model: Sweep(settings, model, analytic, tmp_path, DataSource("real", "e" * 16, "data", 1)))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.service, pytest.mark.long])])
def stores(request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project whose runs and studies lie in SQLite, or each in a database of a PostgreSQL server."""
    if request.param == "sqlite":
        return root
    uris: dict[str, str] = request.getfixturevalue("postgres").uris
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uris["mlflow"])
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", uris["optuna"])
    return tmp_path


def test_three_workers_two_killed_and_every_trial_accounted_for(stores: Path, settings: Settings) -> None:
    result = run_sweep(Sweep(settings, MODEL, mortal, stores, pace=Pace(1, 3, 0.2)), 5, "three", workers=3)
    states = Counter((row.state, row.reason) for row in result.trials)
    assert states == {("complete", ""): 5, ("fail", "killed"): 2}
    assert {row.retry_of for row in result.trials} == {None, 1, 2}
    for row in result.trials:
        if row.retry_of is not None:
            assert row.params == result.trials[row.retry_of].params
    client: Any = MlflowClient(tracking_uri(stores))
    runs = client.search_runs([client.get_experiment_by_name("sweep").experiment_id], "attributes.run_name LIKE 'three%'")
    (parent,) = [run for run in runs if run.info.run_name == "three"]
    children = {run.info.run_id: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert len(runs) == 1 + len(children)
    assert sorted(children) == sorted(row.run_id for row in result.trials)
    for row in result.trials:
        assert children[row.run_id].info.run_name == f"three trial {row.number}"
        assert children[row.run_id].info.status == ("FINISHED" if row.state == "complete" else "KILLED")
    assert parent.info.status == "FINISHED"
    assert load_sweep(stores, "three").front == result.front
    if os.environ.get("ANGIOSYNTH_STUDIES"):
        assert load_sweep(stores / "elsewhere", "three").front == result.front, "from any machine"
        kept = [path for path in stores.rglob("*") if path.is_file()]
        assert not [path for path in kept if path.suffix == ".db" or PASSWORD.encode() in path.read_bytes()]
        assert PASSWORD not in str([(run.data.tags, run.data.params) for run in runs])


@pytest.mark.service
@pytest.mark.usefixtures("untracked")
def test_no_trial_is_lost_when_the_database_goes_away_for_a_moment(
    tmp_path: Path, settings: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", postgres.uris["optuna"])
    restart = threading.Timer(2.5, postgres.start)

    def trial(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        if number == 0:
            postgres.stop()
            restart.start()
            time.sleep(1.5)  # a sign of life is due, and fails
        return analytic(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(settings, MODEL, trial, tmp_path, pace=Pace(1, 60, 0.2)), 2, "away")
    restart.join()
    assert [(row.state, row.retry_of) for row in result.trials] == [("complete", None), ("complete", None)]


@pytest.mark.usefixtures("untracked")
def test_workers_that_end_on_a_fault_are_said_and_lose_no_trial(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        app(lambda: run_sweep(Sweep(settings, MODEL, faulty, tmp_path), 3, "faults", workers=2))
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "worker" in line] == [
        "worker 1: ended on a fault",
        "worker 2: ended on a fault",
        "angiosynth: study faults: its workers ended after 0 of 3 trials; see above, then run it again",
    ]
    result = run_sweep(Sweep(settings, MODEL, faulty, tmp_path), 3, "faults")
    assert [(row.state, row.reason) for row in result.trials] == [("fail", "fault: RuntimeError: the disk is full")] * 2 + [
        ("complete", "")
    ] * 3


@pytest.mark.usefixtures("untracked")
def test_wrong_arguments(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="--trials 0"):
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 0)
    with pytest.raises(InputError, match=r"biggan: no such generator; params\.yaml, section generators, has dcgan, wgan-gp, wgan-gp-sn"):
        run_sweep(Sweep(settings, "biggan", analytic, tmp_path), 1)
    with pytest.raises(InputError, match="--workers 0"):
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1, workers=0)
    with pytest.raises(InputError, match="letters, digits"):
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1, "../up")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "optuna.db").write_text("not a database, " * 100)
    with pytest.raises(InputError, match=r"optuna\.db: cannot be used"):
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1)


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"mysql://lab:{PASSWORD}@localhost/optuna", r"ANGIOSYNTH_STUDIES: takes postgresql://USER@HOST/DATABASE"),
        (f"postgresql://lab:{PASSWORD}@127.0.0.1:1/optuna", r"ANGIOSYNTH_STUDIES: cannot be used \(.*refused.*\); see docs/team\.md"),
        (f"postgresql://lab:{PASSWORD}@127.0.0.1:port/optuna", r"ANGIOSYNTH_STUDIES: cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", uri)
    with pytest.raises(InputError, match=said) as caught:
        run_sweep(Sweep(settings, MODEL, analytic, tmp_path), 1)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
