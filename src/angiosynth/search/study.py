"""A sweep's study in Optuna's database. The only module that imports optuna."""

from __future__ import annotations

import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiosynth.errors import InputError
from angiosynth.generators.base import Searched
from angiosynth.runtime.progress import say
from angiosynth.search.space import (
    SweepResult,
    TrialRow,
    TrialScore,
    counted,
    pareto_front,
    proposal,
    refuse_others,
    row_of,
)
from angiosynth.search.workers import USUAL, Pace
from angiosynth.settings import digest
from angiosynth.settings.sweep import SweepSettings
from angiosynth.tracking.databases import CONNECT_S, alone_at, driven, is_postgres, studies_uri, unusable, wait_for
from angiosynth.tracking.runs import end_lost

if TYPE_CHECKING:
    import optuna

DIRECTIONS: list[Any] = ["maximize", "minimize"]  # of DSC and 95HD
TAKEN = "taken"  # kept with a trial once it gives signs of life
RETRIES = 2  # of a trial that was cut off
POPULATION = 8  # of NSGA-II: Optuna's 50 would be more than most sweeps have trials
FEWEST = 8  # complete trials before an importance is worth a figure


class Study:
    """One study: what it remembers, the next trial to run, and what came of each."""

    def __init__(self, study: optuna.Study, storage: Any, pace: Pace, uri: str) -> None:
        self._study, self._storage, self._pace, self._uri = study, storage, pace, uri

    @property
    def name(self) -> str:
        return self._study.study_name

    def recall(self, key: str) -> Any:
        """What was kept under the key, None where nothing was."""
        return self._study.user_attrs.get(key)

    def keep(self, key: str, value: Any) -> None:
        self._study.set_user_attr(key, value)

    def done(self) -> int:
        """Trials that count."""
        return counted(self.rows())

    def take(self, settings: SweepSettings, space: Mapping[str, Searched], folder: Path) -> Trial | None:
        """The next trial: one that was cut off, or a new one. None where the rest is at work elsewhere.

        One process at a time takes one: by a lock of the server, or by a file in the sweep's folder.
        """
        import optuna

        with alone_at(self._uri, folder, f"study {self.name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Heartbeat of storage")  # `alive` gives it, as Study.optimize would
            optuna.storages.fail_stale_trials(self._study)
            self._end_unborn()
            states = [trial.state.name for trial in self._study.get_trials(deepcopy=False)]
            if "WAITING" not in states and self.done() + states.count("RUNNING") >= self.recall("goal"):
                return None
            # Seeded by the trial's number: a study that goes on, or has several workers, never repeats its first proposals.
            self._study.sampler = _sampler(settings, len(states))
            trial = self._study.ask()
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(TAKEN, True)
        return Trial(self._study, trial, proposal(trial, space), self._pace)

    def _end_unborn(self) -> None:
        """End trials whose process was killed before their first sign of life: nobody else ever would, and all would wait for them."""
        from optuna.trial import TrialState

        latest = datetime.now() - timedelta(seconds=self._pace.grace_s)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if TAKEN not in trial.user_attrs and trial.datetime_start is not None and trial.datetime_start < latest:
                self._study.tell(trial.number, state=TrialState.FAIL)

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Give signs of life for a trial as long as it runs."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._pace.heartbeat_s):
                with suppress(*_database_errors()):  # one beat less; the next one may reach the database
                    self._storage.record_heartbeat(trial.id)

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()

    def rows(self) -> tuple[TrialRow, ...]:
        known = self._study.user_attrs
        trials = self._study.get_trials(deepcopy=False)
        return tuple(row_of(trial, str(known.get(f"run_of_{trial.number}", ""))) for trial in trials)

    def result(self, folder: Path) -> SweepResult:
        rows = self.rows()
        return SweepResult(self.name, str(self.recall("model") or ""), rows, pareto_front(rows), folder, False, self._importances(rows))

    def _importances(self, rows: tuple[TrialRow, ...]) -> dict[str, dict[str, float]]:
        """PED-ANOVA (Watanabe et al. 2023) of reaching the best quarter in each objective; nothing where trials are few."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        if sum(row.state == "complete" for row in rows) < FEWEST:
            return {}
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that low targets are taken for good ones
            dsc = get_param_importances(self._study, evaluator=evaluator, target=lambda trial: -trial.values[0])
            hd95_mm = get_param_importances(self._study, evaluator=evaluator, target=lambda trial: trial.values[1])
        return {"val_dsc": dsc, "val_hd95_mm": hd95_mm}


class Trial:
    """A trial that runs: its number, its proposed values, and how it ends."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, values: Mapping[str, Any], pace: Pace) -> None:
        self._study, self._trial, self._pace = study, trial, pace
        self.id, self.number, self.values = trial._trial_id, trial.number, dict(values)

    def keep(self, key: str, value: str) -> None:
        self._trial.set_user_attr(key, value)

    def succeeded(self, score: TrialScore) -> None:
        self._patiently(lambda: self._study.tell(self._trial, (score.dsc, score.hd95_mm), skip_if_finished=True))

    def failed(self, reason: str, by_itself: bool) -> None:
        """End it without scores. By itself means that its values led to nothing, so the sampler shall know."""
        from optuna.trial import TrialState

        def end() -> None:
            self.keep("reason", reason)
            # TPE does not see failed trials and proposes their like again and again; pruned ones it takes for worse than all others.
            self._study.tell(self._trial, state=TrialState.PRUNED if by_itself else TrialState.FAIL, skip_if_finished=True)

        self._patiently(end)

    def _patiently(self, tell: Callable[[], Any]) -> None:
        """Tell it again while a database is away, as long as the trial does not count as killed: it may have taken hours."""
        until = time.monotonic() + self._pace.grace_s
        while True:
            try:
                tell()
                return
            except _database_errors():
                if time.monotonic() > until:
                    raise
                time.sleep(self._pace.poll_s)


@contextmanager
def opened(root: Path, name: str, facts: Mapping[str, str], pace: Pace = USUAL) -> Iterator[Study]:
    """The study, made where it is missing.

    Raises:
        InputError: the database cannot be used, or the study was made by another program or with other facts.
    """
    import optuna

    begun = root / "mlruns" / "sweeps" / name / "begun"  # there while a study of ours may lack facts: a kill can come between
    with _storage(root, pace) as storage:
        with alone_at(uri := studies_uri(root), root / "mlruns", "studies"):
            if name in optuna.get_all_study_names(storage) and not begun.exists():
                made = _own(storage, name, facts)
            else:
                begun.parent.mkdir(parents=True, exist_ok=True)
                begun.touch()
                made = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS, load_if_exists=True)
                for key, value in facts.items():
                    made.set_user_attr(key, value)
                begun.unlink()
        yield Study(made, storage, pace, uri)


@contextmanager
def existing(root: Path, name: str) -> Iterator[Study]:
    """A study that is there already.

    Raises:
        InputError: it is not, or another program made it.
    """
    import optuna

    if not is_postgres(uri := studies_uri(root)) and not (root / "mlruns" / "optuna.db").is_file():
        raise InputError(f"{name}: no such study, nothing was searched here yet; begin with `python cli.py sweep`")
    with _storage(root, USUAL) as storage:
        known = optuna.get_all_study_names(storage)
        if name not in known:
            raise InputError(f"{name}: no such study; there are {', '.join(known) or 'none'}")
        yield Study(_own(storage, name, {}), storage, USUAL, uri)


def studies_in(root: Path) -> list[str]:
    """The names of all studies; none, and no database is made, before the first sweep.

    Raises:
        InputError: the database cannot be used.
    """
    import optuna

    if not is_postgres(studies_uri(root)) and not (root / "mlruns" / "optuna.db").is_file():
        return []
    with _storage(root, USUAL) as storage:
        return optuna.get_all_study_names(storage)


def _own(storage: Any, name: str, facts: Mapping[str, str]) -> optuna.Study:
    """A study that is there, if this program made it with these facts. Only reads."""
    import optuna

    study = optuna.load_study(storage=storage, study_name=name)
    if [direction.name.lower() for direction in study.directions] != DIRECTIONS:
        refuse_others(name, {}, {})
    refuse_others(name, study.user_attrs, facts, {key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    return study


@contextmanager
def _storage(root: Path, pace: Pace) -> Iterator[Any]:
    import optuna

    def cut_off(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Close the run of the killed trial, and queue its values again."""
        run_id = end_lost(f"{study.study_name} trial {trial.number}", study.user_attrs.get("parent_run", ""), root)
        if "run_id" not in trial.user_attrs:
            study.set_user_attr(f"run_of_{trial.number}", run_id)
        say(f"sweep {study.study_name} trial {trial.number}: killed; it is tried again up to {RETRIES} times")
        trial.user_attrs = {"retry_of": trial.number}
        optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial is said in one line, without its traceback
    uri = studies_uri(root)
    engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    if is_postgres(uri):
        engine = {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True}  # a server may be started anew meanwhile
    try:
        with alone_at(uri, root / "mlruns", "studies"), warnings.catch_warnings():
            wait_for(uri, "mlruns/optuna.db")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat's callback is called so
            storage = optuna.storages.RDBStorage(
                driven(uri),
                engine_kwargs=engine,
                heartbeat_interval=pace.heartbeat_s,
                grace_period=pace.grace_s,
                heartbeat_stale_trial_callback=cut_off,
            )
    except _database_errors(RuntimeError, ValueError, ImportError, OSError, sqlite3.Error) as error:
        raise unusable(uri, error) from error
    try:
        yield storage
    except _database_errors() as error:
        raise unusable(uri, error) from error
    except KeyError as error:
        if "Record does not exist" not in str(error):
            raise
        raise InputError("the study was deleted while it was worked on; the sweep ends") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _database_errors(*further: type[Exception]) -> tuple[type[Exception], ...]:
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, OptunaError, *further


def _sampler(settings: SweepSettings, number: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    seed = int(digest(settings.seed, number), 16) % 2**32
    if settings.sampler == "nsgaii":
        return samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    if settings.sampler == "gp":
        return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed) if settings.sampler == "random" else samplers.TPESampler(seed=seed)
