"""The study of a sweep in Optuna's database. Only this module and storage.py import optuna.

Optuna's loop (`Study.optimize`) runs the trials, its heartbeat detects those whose process was killed, and its callback
`RetryHeartbeatStaleTrialCallback` queues their values again. Four guarantees of a sweep need additions:

- The number of trials is exact for any number of processes. Optuna's `MaxTrialsCallback` counts after a trial, so that n processes run up
  to n - 1 trials too many. `Study.optimize` below holds a lock from the count until the values of the new trial are drawn.
- A process killed between the start of a trial and its first heartbeat blocks nothing. Optuna never treats such a trial as stale;
  `_fail_unborn` does.
- A short outage of the database loses no trial. Optuna's heartbeat thread ends at the first error, and its loop loses a score that it
  cannot store. `PatientStorage` skips the beat, and `Trial.keep` waits for the database before the loop stores the result.
- SIGTERM ends a trial at once. Optuna's loop leaves it in state "running" on SystemExit; `_outcome` sets it to failed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from angiosynth.errors import InputError
from angiosynth.generators.base import Searched
from angiosynth.runtime.progress import say
from angiosynth.search.results import KILLED, SweepResult, TrialRow, TrialScore, Value, counted, pareto_front
from angiosynth.search.space import proposal, refuse_others
from angiosynth.search.storage import ALIVE, DATABASE_ERRORS, opened_storage
from angiosynth.search.workers import DEFAULT_PACE, Pace
from angiosynth.settings import digest
from angiosynth.settings.sweep import SweepSettings
from angiosynth.tracking.databases import alone_at, is_postgres, studies_uri

DIRECTIONS: list[Any] = ["maximize", "minimize"]  # of DSC and 95HD
POPULATION = 8  # of NSGA-II; Optuna's default of 50 exceeds the number of trials of most sweeps
FEWEST = 8  # complete trials before importances are computed


class TrialFailedError(Exception):
    """A trial has no usable score, because it diverged or segmented no vessel. The sweep continues."""


class _UnstoredError(BaseException):
    """Leaves Optuna's loop without storing an outcome, which the loop does for every Exception. Its cause is the storage error."""


class Trial:
    """A running trial with its number and proposed values."""

    def __init__(self, trial: optuna.Trial, values: Mapping[str, Value], pace: Pace) -> None:
        self.number, self.values = trial.number, values
        self._trial, self._pace = trial, pace

    def keep(self, key: str, value: Any) -> None:
        """Set an attribute. Retries during a database outage until the trial would count as killed, since it may have taken hours."""
        until = time.monotonic() + self._pace.grace_s
        while True:
            try:
                return self._trial.set_user_attr(key, value)
            except (UpdateFinishedTrialError, KeyError) as error:  # another process counted the trial as killed, or it was deleted
                raise _UnstoredError from error
            except DATABASE_ERRORS as error:
                if time.monotonic() > until:
                    raise _UnstoredError from error
                time.sleep(self._pace.poll_s)


class Study:
    """One study: attributes, trials, and the loop that runs the trials."""

    def __init__(self, study: optuna.Study, root: Path, pace: Pace) -> None:
        self._study, self._pace, self._uri = study, pace, studies_uri(root)
        self.folder = root / "mlruns" / "sweeps" / study.study_name

    @property
    def name(self) -> str:
        return self._study.study_name

    def attribute(self, key: str) -> Any:
        """Return the value of an attribute of the study, or None."""
        return self._study.user_attrs.get(key)

    def set_attribute(self, key: str, value: Any) -> None:
        self._study.set_user_attr(key, value)

    def done(self) -> int:
        """Return the number of trials that count."""
        return counted(self.rows())

    def optimize(
        self,
        settings: SweepSettings,
        space: Mapping[str, Searched],
        score: Callable[[Trial], TrialScore],
        *,
        after: Callable[[int], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Run trials by Optuna's loop until the study has reached its goal. Other processes may do the same.

        While the remaining trials run in other processes this one waits, so that it can repeat a trial that is killed there.

        Args:
            settings: the sampler and its seed.
            space: the searched values.
            score: runs a trial. A TrialFailedError tells the sampler that the values are bad; any other exception ends the loop.
            after: called with the number of each ended trial, with or without a score.
            wanted: called before each trial; False ends the loop.
        """
        with ExitStack() as turn:  # holds the lock from counting the trials until the values of the new trial are drawn

            def another() -> bool:
                """Wait until a trial is to be run and take the lock; False when the goal is reached."""
                while wanted() and self.done() < self.attribute("goal"):
                    turn.enter_context(alone_at(self._uri, self.folder, f"study {self.name}"))
                    if self._has_room():
                        # Seed the sampler by the number of the trial. Otherwise each process would repeat the first proposals.
                        self._study.sampler = _sampler(settings, len(self._study.get_trials(deepcopy=False)))
                        return True
                    turn.close()
                    time.sleep(self._pace.poll_s)
                return False

            def objective(trial: optuna.Trial) -> tuple[float, float]:
                values = proposal(trial, space)
                turn.close()
                return self._outcome(Trial(trial, values, self._pace), score)

            def ended(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
                after(trial.number)
                if not another():
                    study.stop()

            while another():
                try:
                    self._study.optimize(objective, callbacks=[ended])
                except _UnstoredError as error:
                    if not isinstance(error.__cause__, UpdateFinishedTrialError):
                        raise error.__cause__ or error from None
                    say(f"sweep {self.name}: a trial gave no sign of life for {self._pace.grace_s} s, and its values are tried again")

    def _outcome(self, trial: Trial, score: Callable[[Trial], TrialScore]) -> tuple[float, float]:
        try:
            result = score(trial)
        except TrialFailedError as error:
            # TPE ignores failed trials and would propose similar values repeatedly. It treats pruned trials as worse than all others.
            raise optuna.TrialPruned from error
        except SystemExit:
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            raise
        trial.keep("scored", True)
        return result.dsc, result.hd95_mm

    def _has_room(self) -> bool:
        """Whether a trial can start, either a queued repetition or a new one. The caller must hold the lock."""
        optuna.storages.fail_stale_trials(self._study)
        self._fail_unborn()
        states = [trial.state for trial in self._study.get_trials(deepcopy=False)]
        return TrialState.WAITING in states or bool(self.done() + states.count(TrialState.RUNNING) < self.attribute("goal"))

    def _fail_unborn(self) -> None:
        """Fail trials whose process was killed before their first heartbeat; otherwise all processes would wait for them."""
        latest = datetime.now() - timedelta(seconds=self._pace.grace_s)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if ALIVE not in trial.user_attrs and trial.datetime_start is not None and trial.datetime_start < latest:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def rows(self) -> tuple[TrialRow, ...]:
        attributes = self._study.user_attrs
        trials = self._study.get_trials(deepcopy=False)
        return tuple(_row(trial, str(attributes.get(f"run_of_{trial.number}", ""))) for trial in trials)

    def result(self) -> SweepResult:
        rows = self.rows()
        model = str(self.attribute("model") or "")
        return SweepResult(self.name, model, rows, pareto_front(rows), self.folder, False, self._importances(rows))

    def _importances(self, rows: tuple[TrialRow, ...]) -> dict[str, dict[str, float]]:
        """Importance of each value for reaching the best quarter in each objective (PED-ANOVA, Watanabe et al. 2023); {} for few trials."""
        if sum(row.state == "complete" for row in rows) < FEWEST:
            return {}
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # imports scikit-learn, which takes seconds

        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warns that low targets are considered good
            dsc = get_param_importances(self._study, evaluator=evaluator, target=lambda trial: -trial.values[0])
            hd95_mm = get_param_importances(self._study, evaluator=evaluator, target=lambda trial: trial.values[1])
        return {"val_dsc": dsc, "val_hd95_mm": hd95_mm}


@contextmanager
def opened(root: Path, name: str, facts: Mapping[str, str], pace: Pace) -> Iterator[Study]:
    """Open a study, which is created if it is missing.

    Raises:
        InputError: the database cannot be used, or the study was made by another program or with other values of `facts`.
    """
    begun = root / "mlruns" / "sweeps" / name / "begun"  # exists while attributes may be missing, in case the process is killed
    with opened_storage(root, pace) as storage:
        with alone_at(studies_uri(root), root / "mlruns", "studies"):
            if name in optuna.get_all_study_names(storage) and not begun.exists():
                study = _loaded(storage, name, facts)
            else:
                begun.parent.mkdir(parents=True, exist_ok=True)
                begun.touch()
                study = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS, load_if_exists=True)
                for key, value in facts.items():
                    study.set_user_attr(key, value)
                begun.unlink()
        yield Study(study, root, pace)


@contextmanager
def existing(root: Path, name: str) -> Iterator[Study]:
    """Open an existing study.

    Raises:
        InputError: no study has this name, or another program made it.
    """
    if not _database_exists(root):
        raise InputError(f"{name}: no such study, nothing was searched here yet; begin with `python cli.py sweep`")
    with opened_storage(root, DEFAULT_PACE) as storage:
        known = optuna.get_all_study_names(storage)
        if name not in known:
            raise InputError(f"{name}: no such study; there are {', '.join(known) or 'none'}")
        yield Study(_loaded(storage, name, {}), root, DEFAULT_PACE)


def studies_in(root: Path) -> list[str]:
    """Return the names of all studies. Before the first sweep there are none, and no database is created.

    Raises:
        InputError: the database cannot be used.
    """
    if not _database_exists(root):
        return []
    with opened_storage(root, DEFAULT_PACE) as storage:
        return optuna.get_all_study_names(storage)


def _database_exists(root: Path) -> bool:
    return is_postgres(studies_uri(root)) or (root / "mlruns" / "optuna.db").is_file()


def _loaded(storage: RDBStorage, name: str, facts: Mapping[str, str]) -> optuna.Study:
    """Load an existing study without changing it, after checking that this program made it with the same values of `facts`."""
    study = optuna.load_study(storage=storage, study_name=name)
    if [direction.name.lower() for direction in study.directions] != DIRECTIONS:
        refuse_others(name, {}, {})
    refuse_others(name, study.user_attrs, facts, {key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    return study


def _row(trial: optuna.trial.FrozenTrial, lost_run: str) -> TrialRow:
    """Convert an Optuna trial to a row; `lost_run` is the run id of a trial that was killed before it stored the id."""
    state = trial.state.name.lower().replace("pruned", "fail")  # see Study._outcome
    dsc, hd95_mm = trial.values if state == "complete" else (None, None)
    seconds = round(trial.duration.total_seconds(), 1) if trial.duration else None
    attributes = trial.user_attrs
    reason = str(attributes.get("reason", KILLED)) if state == "fail" else ""
    run_id, killed = str(attributes.get("run_id", lost_run)), RetryHeartbeatStaleTrialCallback.retry_history(trial)
    return TrialRow(trial.number, state, dict(trial.params), dsc, hd95_mm, reason, seconds, run_id, killed[-1] if killed else None)


def _sampler(settings: SweepSettings, number: int) -> optuna.samplers.BaseSampler:
    seed = int(digest(settings.seed, number), 16) % 2**32
    if settings.sampler == "nsgaii":
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    if settings.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed) if settings.sampler == "random" else optuna.samplers.TPESampler(seed=seed)
