"""Studies that are there already: another program's are refused and left as they are, ours go on whatever happened to them."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from angiosynth.errors import InputError
from angiosynth.search import study as module
from angiosynth.search.results import TrialScore
from angiosynth.search.sweep import Sweep, join_sweep, load_sweep, run_sweep
from angiosynth.search.workers import Pace
from angiosynth.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
MODEL = "wgan-gp"
BOTH: list[Any] = ["maximize", "minimize"]
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage", "ignore:Argument ``heartbeat_interval``")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "profiles" / "demo.yaml")


@pytest.fixture(autouse=True)
def _untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")


def scored(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    return TrialScore(0.5, 5.0 + number)


def uri_of(root: Path) -> str:
    (root / "mlruns").mkdir(exist_ok=True)
    return f"sqlite:///{root}/mlruns/optuna.db"


def content(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "mlruns" / "optuna.db")) as database:
        return list(database.iterdump())


def a_trial(**values: float) -> optuna.trial.FrozenTrial:
    scores = [values.pop("value")] if "value" in values else [values.pop("dsc"), values.pop("hd95")]
    spread: dict[str, optuna.distributions.BaseDistribution] = {name: optuna.distributions.FloatDistribution(0, 10) for name in values}
    return optuna.trial.create_trial(params=dict(values), distributions=spread, values=scores)


def single(root: Path) -> optuna.Study:
    return optuna.create_study(storage=uri_of(root), study_name="theirs")


def finished(root: Path) -> None:
    single(root).add_trial(a_trial(x=1.0, value=0.3))


def running(root: Path) -> None:
    single(root).ask()


def queued(root: Path) -> None:
    single(root).enqueue_trial({"x": 1.0})


def both(root: Path, directions: list[Any] = BOTH) -> optuna.Study:
    return optuna.create_study(storage=uri_of(root), study_name="theirs", directions=directions)


def both_finished(root: Path) -> None:
    both(root).add_trial(a_trial(x=1.0, dsc=0.3, hd95=4.0))


def named_alike(root: Path) -> None:
    """A user attribute that is called as one of this program's."""
    both(root).set_user_attr("model", MODEL)


OTHERS: dict[str, Callable[[Path], object]] = {
    "one objective, no trial": single,
    "one objective, finished": finished,
    "one objective, running": running,
    "one objective, queued": queued,
    "two objectives, no trial": both,
    "two objectives, finished": both_finished,
    "both up": lambda root: both(root, ["maximize", "maximize"]),
    "three objectives": lambda root: both(root, [*BOTH, "minimize"]),
    "with an attribute of the same name": named_alike,
}


def test_another_programs_study_is_refused_and_left_as_it_is(tmp_path: Path, settings: Settings) -> None:
    """Every kind of study, and every command that takes a study's name."""
    for number, make in enumerate(OTHERS.values()):
        make(tmp_path)
        with closing(sqlite3.connect(tmp_path / "mlruns" / "optuna.db")) as database, database:
            database.execute("update studies set study_name = ? where study_name = 'theirs'", (f"theirs-{number}",))
    before = content(tmp_path)
    commands: list[Callable[[], object]] = [
        *(partial(run_sweep, Sweep(settings, MODEL, scored, tmp_path), 1, f"theirs-{number}") for number in range(len(OTHERS))),
        lambda: run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "theirs-0", workers=2),
        *(partial(join_sweep, tmp_path, name, lambda model: Sweep(settings, model, scored, tmp_path)) for name in ("theirs-1", "theirs-5")),
        *(partial(load_sweep, tmp_path, name) for name in ("theirs-1", "theirs-5")),
    ]
    for command in commands:
        with pytest.raises(InputError, match=r"study theirs-\d: another program made it, nothing in it was touched; give") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert content(tmp_path) == before
    assert len(run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours").trials) == 1, "beside them there is room for one's own"


def test_trials_that_another_program_put_into_a_study_are_refused(tmp_path: Path, settings: Settings) -> None:
    run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours")
    optuna.load_study(study_name="ours", storage=uri_of(tmp_path)).add_trial(a_trial(momentum=1.0, dsc=0.3, hd95=4.0))
    before = content(tmp_path)
    with pytest.raises(InputError, match="study ours: another program put trials into it, of momentum"):
        run_sweep(Sweep(settings, MODEL, scored, tmp_path), 5, "ours")
    assert content(tmp_path) == before


def test_a_study_of_an_earlier_version_that_kept_less_is_refused(tmp_path: Path, settings: Settings) -> None:
    """By which code its trials were scored is not known."""
    run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours")
    with pytest.raises(InputError, match=r"study ours: made with other code \(not kept then, now 1234\); give the new study another name"):
        run_sweep(Sweep(settings, MODEL, scored, tmp_path, basis={"code": "1234"}), 2, "ours")


@pytest.mark.parametrize("facts_kept", [0, 1, 3])
def test_a_study_of_which_a_kill_left_the_beginning_goes_on(
    facts_kept: int, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the study was made, and after some of what it remembers was written."""
    real, kept = optuna.Study.set_user_attr, list[str]()

    def killed(self: optuna.Study, key: str, value: object) -> None:
        if len(kept) == facts_kept:
            raise KeyboardInterrupt
        kept.append(key)
        real(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours")
    if facts_kept:
        with pytest.raises(InputError):
            load_sweep(tmp_path, "ours")
    assert [row.state for row in run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours").trials] == ["complete"]
    assert load_sweep(tmp_path, "ours").model == MODEL


def test_a_worker_waits_for_no_trial_whose_process_died_before_its_first_sign_of_life(tmp_path: Path, settings: Settings) -> None:
    run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.load_study(study_name="ours", storage=uri_of(tmp_path)).ask()
    with closing(sqlite3.connect(tmp_path / "mlruns" / "optuna.db")) as database, database:
        database.execute("update trials set datetime_start = datetime('now', '-2 days') where state = 'RUNNING'")
    result = run_sweep(Sweep(settings, MODEL, scored, tmp_path, pace=Pace(1, 60, 0.1)), 2, "ours")
    assert [row.state for row in result.trials] == ["complete", "fail", "complete"]


def test_a_lower_goal_is_reached_already(tmp_path: Path, settings: Settings) -> None:
    run_sweep(Sweep(settings, MODEL, scored, tmp_path), 3, "ours")
    assert len(run_sweep(Sweep(settings, MODEL, scored, tmp_path), 2, "ours").trials) == 3


def test_a_worker_of_a_study_without_a_goal_is_reported(tmp_path: Path, settings: Settings) -> None:
    run_sweep(Sweep(settings, MODEL, scored, tmp_path), 1, "ours")
    with closing(sqlite3.connect(tmp_path / "mlruns" / "optuna.db")) as database, database:
        database.execute("delete from study_user_attributes where key = 'goal'")
    with pytest.raises(InputError, match="study ours: begun, but not how many trials"):
        join_sweep(tmp_path, "ours", lambda model: Sweep(settings, model, scored, tmp_path))


def test_a_study_that_is_deleted_meanwhile_ends_the_sweep_in_one_line(tmp_path: Path, settings: Settings) -> None:
    def deleting(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        if number == 1:
            optuna.delete_study(study_name="ours", storage=uri_of(tmp_path))
        return scored(drawn, scratch, run_id, number)

    with pytest.raises(InputError, match="the study was deleted while it was worked on"):
        run_sweep(Sweep(settings, MODEL, deleting, tmp_path), 3, "ours")
    assert [row.number for row in run_sweep(Sweep(settings, MODEL, scored, tmp_path), 2, "ours").trials] == [0, 1], "the name is free again"
    assert module.studies_in(tmp_path) == ["ours"]


def test_a_trial_that_counts_as_killed_while_it_still_runs_is_left_and_the_sweep_goes_on(tmp_path: Path, settings: Settings) -> None:
    """As on a machine that was asleep: its score comes too late, and the trial is another worker's to repeat."""

    def overtaken(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        if number == 0:
            optuna.load_study(study_name="ours", storage=uri_of(tmp_path)).tell(0, state=optuna.trial.TrialState.FAIL)
        return scored(drawn, scratch, run_id, number)

    result = run_sweep(Sweep(settings, MODEL, overtaken, tmp_path), 2, "ours")
    assert [(row.state, row.reason) for row in result.trials] == [("fail", "killed"), ("complete", ""), ("complete", "")]


def test_a_database_that_stays_away_ends_the_sweep_in_one_line(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("update", {}, Exception("server closed the connection"))

    def losing(drawn: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_user_attr", away)
        return scored(drawn, scratch, run_id, number)

    with pytest.raises(InputError, match=r"optuna\.db: cannot be used \(.*server closed the connection\)") as caught:
        run_sweep(Sweep(settings, MODEL, losing, tmp_path, pace=Pace(1, 1, 0.1)), 1, "ours")
    assert "\n" not in str(caught.value)
