"""Optuna sweeps over one GAN's settings. The only module that imports optuna.

Two objectives on validation patients: DSC up, 95HD down. A trial gets settings and a scratch folder, nothing of the test patients.
Any number of processes may work on one study: they share its database.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiosynth.errors import InputError
from angiosynth.experiments.lineage import alone_in
from angiosynth.experiments.tracking import DataSource, ensure_store, training_run
from angiosynth.runtime.output import whole_file, write_json
from angiosynth.runtime.progress import say
from angiosynth.settings import MODELS, Settings, digest

if TYPE_CHECKING:
    import optuna

Range = tuple[float, float]
SEARCHED = ("critic_iterations", "gradient_penalty_weight", "learning_rate_generator", "learning_rate_critic")
HEARTBEAT_S = 30
GRACE_S = 120  # a trial silent for so long was killed, and is tried again
DIVERGED = re.compile(r"diverged|not finite|non-finite", re.IGNORECASE)


@dataclass(frozen=True)
class TrialScore:
    """Means over the validation patients: DSC, and 95HD in millimetres."""

    dsc: float
    hd95_mm: float


@dataclass(frozen=True)
class TrialRow:
    """One trial as the study holds it; scores are None unless its state is "complete"."""

    number: int
    state: str
    params: dict[str, float]
    dsc: float | None
    hd95_mm: float | None
    reason: str
    seconds: float | None
    run_id: str


@dataclass(frozen=True)
class SweepResult:
    """All trials of the study, its Pareto front (best DSC first), and the folder with trials.csv and front.json."""

    study: str
    model: str
    trials: tuple[TrialRow, ...]
    front: tuple[TrialRow, ...]
    folder: Path
    interrupted: bool


TrialFunction = Callable[[Settings, Path, str, int], TrialScore]


class TrialFailedError(Exception):
    """A trial without a usable score: diverged, or it found no vessel. The sweep goes on."""


def search_space(settings: Settings, model: str) -> dict[str, Range]:
    """Name -> (low, high) of what is searched for the model; DCGAN has no penalty weight.

    Raises:
        InputError: an unknown model, or a range upside down.
    """
    if model not in MODELS:
        raise InputError(f"{model}: no such model; take one of {', '.join(MODELS)}")
    fields = type(settings.gan.of(model)).model_fields
    space: dict[str, Range] = {name: getattr(settings.sweep, name) for name in SEARCHED if name in fields}
    for name, (low, high) in space.items():
        if low > high:
            raise InputError(f"params.yaml: sweep.{name}: {low} is above {high}; give the lower end first")
    return space


def trial_settings(settings: Settings, model: str, values: Mapping[str, float]) -> Settings:
    """The settings of one trial: the model's section with the proposed values, and the sweep's sizes of GAN, set and U-net."""
    tree = settings.model_dump(by_alias=True)
    tree["gan"][model] |= {**values, "steps": settings.sweep.gan_steps}
    tree["gan"]["common"]["checkpoint_choice"] = "last"  # the U-net at the end is the score
    tree["synthesis"]["pairs"] = settings.sweep.pairs
    tree["unet"]["steps"] = settings.sweep.unet_steps
    return Settings.model_validate(tree)


def run_sweep(
    settings: Settings,
    model: str,
    trials: int,
    trial_function: TrialFunction,
    root: Path,
    study_name: str | None = None,
    data: DataSource | None = None,
) -> SweepResult:
    """Run `trials` more trials of the model's study and write mlruns/sweeps/<study>/trials.csv and front.json.

    Args:
        settings: params.yaml; `sweep` has the ranges, the sampler, its seed and a trial's size.
        model: the GAN.
        trials: how many to run now. A study of that name goes on where it stands.
        trial_function: (trial's settings, empty scratch folder, run id to nest runs under, trial number) -> score. A
            FloatingPointError, an InputError that says "diverged", a score that is not finite or a DSC of 0 fail the trial
            and the sweep goes on; any other exception ends it. The scratch folder is removed after the trial.
        root: holds mlruns/.
        study_name: by default the model and a digest of what the trials depend on.
        data: the data of the trials; a study goes on with no other.

    Raises:
        InputError: a wrong argument, a database that cannot be opened, or a study made with other settings or ranges.
    """
    root = Path(root).resolve()
    if trials < 1:
        raise InputError(f"--trials {trials}: must be 1 or more")
    space = search_space(settings, model)
    facts = _facts(settings, model, space, data)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name := study_name or f"{model}-{digest(facts)[:8]}"):
        raise InputError(f"study {name!r}: letters, digits, dot, dash and underscore only")
    folder = root / "mlruns" / "sweeps" / name
    interrupted = False
    ensure_store(root)
    with _opened(root, name, facts) as study:
        say(f"sweep {name}: {len(study.trials)} trials so far, {trials} to run; Ctrl-C ends it and keeps what is done")
        try:
            with training_run("sweep", name, stage="sweep", settings=_tracked(settings, model), data=data, root=root, lineage=False) as run:
                try:
                    objective = _objective(study, settings, model, space, trial_function, root, run.id)
                    study.optimize(objective, n_trials=trials, catch=(TrialFailedError,))
                finally:
                    result = _written(study, model, folder)
                    run.final(_summary(result))
                    for file in ("trials.csv", "front.json"):
                        run.artifact(folder / file)
        except KeyboardInterrupt:
            interrupted = True
            say(f"sweep {name}: ended by hand; the same command goes on with it")
    return SweepResult(result.study, model, result.trials, result.front, folder, interrupted)


def _facts(settings: Settings, model: str, space: Mapping[str, Range], data: DataSource | None) -> dict[str, str]:
    """What a trial's score depends on, besides its proposed values."""
    fixed = trial_settings(settings, model, {})
    own = fixed.gan.of(model).model_dump(mode="json", exclude=set(space))
    parts = (fixed.phantom, fixed.cohort, fixed.patches, fixed.gan.common, own, fixed.probe, fixed.synthesis, fixed.unet)
    ranges = json.dumps({name: list(ends) for name, ends in space.items()}, sort_keys=True)
    return {"model": model, "settings": digest(*parts), "search_space": ranges, "data": data.digest if data else ""}


@contextmanager
def _opened(root: Path, name: str, facts: Mapping[str, str]) -> Iterator[optuna.Study]:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial is said in one line, without its traceback
    try:
        with alone_in(root / "mlruns"), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat's callback is called so
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{root / 'mlruns' / 'optuna.db'}",
                engine_kwargs={"connect_args": {"timeout": 60}},
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=2),
            )
            study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "minimize"], load_if_exists=True)
            _same_or_refuse(study, name, facts)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"mlruns/optuna.db: cannot be used ({first}); mend it or move it away") from error
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _same_or_refuse(study: optuna.Study, name: str, facts: Mapping[str, str]) -> None:
    known = study.user_attrs
    for key, value in facts.items():
        if key not in known:
            study.set_user_attr(key, value)
        elif known[key] != value:
            what = key.replace("_", " ")
            raise InputError(f"study {name}: made with another {what} ({known[key]}, now {value}); give the new study another name")


def _objective(
    study: optuna.Study, settings: Settings, model: str, space: Mapping[str, Range], trial_function: TrialFunction, root: Path, parent: str
) -> Callable[[optuna.Trial], tuple[float, float]]:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        # Seeded by the trial's number: a study that goes on, or has several workers, never repeats its first proposals.
        study.sampler = _sampler(settings, trial.number)
        values = _proposal(trial, space)
        scratch = root / ".work" / "sweeps" / study.study_name / str(trial.number)
        label = f"{study.study_name} trial {trial.number}"
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            tracked = {"gan": {model: values}}
            with training_run("sweep", label, stage="sweep", settings=tracked, parent=parent or None, root=root, lineage=False) as run:
                trial.set_user_attr("run_id", run.id)
                score = _scored(trial_function, trial_settings(settings, model, values), scratch, run.id, trial.number)
                run.final({"val_dsc": score.dsc, "val_hd95_mm": score.hd95_mm})
        except BaseException as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else _reason(error, root)
            trial.set_user_attr("reason", reason)
            say(f"sweep {label}: failed: {reason}")
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        say(f"sweep {label}: DSC {score.dsc:.3f}, 95HD {score.hd95_mm:.1f} mm")
        return score.dsc, score.hd95_mm

    return objective


def _scored(function: TrialFunction, settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    try:
        score = function(settings, scratch, run_id, number)
    except (InputError, FloatingPointError) as error:
        if isinstance(error, InputError) and not DIVERGED.search(str(error)):
            raise
        raise TrialFailedError(str(error)) from error
    if not (math.isfinite(score.dsc) and math.isfinite(score.hd95_mm)):
        raise TrialFailedError("the score is not finite")
    if score.dsc <= 0:
        raise TrialFailedError("no vessel found in the validation patients")
    return score


def _sampler(settings: Settings, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    seed = int(digest(settings.sweep.seed, number), 16) % 2**32
    return optuna.samplers.RandomSampler(seed=seed) if settings.sweep.sampler == "random" else optuna.samplers.TPESampler(seed=seed)


def _proposal(trial: optuna.Trial, space: Mapping[str, Range]) -> dict[str, float]:
    """Whole numbers of critic iterations; the others are scales, searched by their logarithm."""
    values: dict[str, float] = {}
    for name, (low, high) in space.items():
        whole = name == "critic_iterations"
        values[name] = trial.suggest_int(name, int(low), int(high)) if whole else trial.suggest_float(name, low, high, log=True)
    return values


def _written(study: optuna.Study, model: str, folder: Path) -> SweepResult:
    rows = tuple(_row(trial) for trial in study.get_trials(deepcopy=False))
    best = {trial.number for trial in study.best_trials}
    front = tuple(sorted((row for row in rows if row.number in best), key=lambda row: -(row.dsc or 0.0)))
    names = sorted({name for row in rows for name in row.params})
    with whole_file(folder / "trials.csv") as target, target.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["number", "state", "val_dsc", "val_hd95_mm", *names, "seconds", "reason", "run_id"])
        for row in rows:
            table.writerow([row.number, row.state, row.dsc, row.hd95_mm, *map(row.params.get, names), row.seconds, row.reason, row.run_id])
    points = [{"number": row.number, "val_dsc": row.dsc, "val_hd95_mm": row.hd95_mm, "params": row.params} for row in front]
    write_json(folder / "front.json", {"study": study.study_name, "model": model, "front": points})
    return SweepResult(study.study_name, model, rows, front, folder, interrupted=False)


def _row(trial: optuna.trial.FrozenTrial) -> TrialRow:
    state = trial.state.name.lower()
    dsc, hd95_mm = trial.values if state == "complete" else (None, None)
    seconds = round(trial.duration.total_seconds(), 1) if trial.duration else None
    reason = str(trial.user_attrs.get("reason", "killed")) if state == "fail" else ""
    return TrialRow(trial.number, state, dict(trial.params), dsc, hd95_mm, reason, seconds, str(trial.user_attrs.get("run_id", "")))


def _summary(result: SweepResult) -> dict[str, float]:
    counts = {"trials": float(len(result.trials)), "trials_failed": float(sum(row.state == "fail" for row in result.trials))}
    best = {"val_dsc": result.front[0].dsc or 0.0, "val_hd95_mm": result.front[0].hd95_mm or 0.0} if result.front else {}
    return {**counts, **best}


def _tracked(settings: Settings, model: str) -> dict[str, Any]:
    return {"sweep": settings.sweep, "gan": {"common": settings.gan.common, model: settings.gan.of(model)}}


def _reason(error: BaseException, root: Path) -> str:
    first = (str(error).splitlines() or [""])[0].replace(f"{root}/", "")
    return first if isinstance(error, (TrialFailedError, InputError)) else f"{type(error).__name__}: {first}"
