"""Sweeps over one GAN's settings.

Two objectives on validation patients: DSC up, 95HD down. A trial gets settings and a scratch folder, nothing of the test patients.
Any number of processes may work on one study: they share its database, and each takes the next trial under a lock.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from angiosynth.errors import InputError
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.search.space import (
    FAULT,
    INTERRUPTED,
    SweepResult,
    TrialFunction,
    TrialScore,
    how_far,
    model_values,
    search_space,
    study_facts,
    trial_settings,
    write_tables,
)
from angiosynth.search.study import Study, Trial, existing, opened
from angiosynth.search.workers import USUAL, Pace, with_workers
from angiosynth.settings import Settings, digest
from angiosynth.tracking.lineage import portable
from angiosynth.tracking.runs import DataSource, ensure_store, training_run

NOTHING: Mapping[str, str] = MappingProxyType({})
DIVERGED = re.compile(r"diverged|not finite|non-finite", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """All that a worker must know; it can be sent to another process."""

    settings: Settings
    model: str
    trial_function: TrialFunction
    root: Path
    study: str
    facts: Mapping[str, str]
    pace: Pace
    owner: int = 0  # the process that started the worker: without it the worker ends after its trial

    @property
    def folder(self) -> Path:
        return self.root / "mlruns" / "sweeps" / self.study


class TrialFailedError(Exception):
    """A trial without a usable score: diverged, or it found no vessel. The sweep goes on."""


def run_sweep(
    settings: Settings,
    model: str,
    trials: int,
    trial_function: TrialFunction,
    root: Path,
    study_name: str | None = None,
    data: DataSource | None = None,
    *,
    basis: Mapping[str, str] = NOTHING,
    workers: int = 1,
    draw: Callable[[SweepResult], Sequence[Path]] | None = None,
    pace: Pace = USUAL,
) -> SweepResult:
    """Bring the model's study to `trials` trials and write mlruns/sweeps/<study>/trials.csv and front.json.

    Args:
        settings: params.yaml; `sweep` has the ranges, the sampler, its seed and a trial's size.
        model: the GAN.
        trials: how many the study shall have, those there already among them; trials that were cut off do not count.
        trial_function: (trial's settings, empty scratch folder, run id to nest runs under, trial number) -> score. A
            FloatingPointError, an InputError that says "diverged", a score that is not finite or a DSC of 0 fail the trial
            and the sweep goes on; any other exception ends it. The scratch folder is removed after the trial. With
            several workers it must be picklable.
        root: holds mlruns/.
        study_name: by default the model and a digest of what the trials depend on.
        data: the data of the trials; a study goes on with no other.
        basis: name -> digest of what else the trials rest on, such as the validation scans; likewise.
        workers: processes at work at once.
        draw: draws figures of the result and gives their paths.
        pace: of signs of life.

    Raises:
        InputError: a wrong argument, a database that cannot be opened, or a study made with other settings or ranges.
    """
    if trials < 1 or workers < 1:
        raise InputError(f"--trials {trials} --workers {workers}: must be 1 or more")
    facts = study_facts(settings, model, data, basis)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name := study_name or f"{model}-{digest(facts)[:8]}"):
        raise InputError(f"study {name!r}: letters, digits, dot, dash and underscore only")
    job = Job(settings, model, trial_function, Path(root).resolve(), name, facts, pace)
    ensure_store(job.root)
    interrupted = False
    with opened(job.root, name, facts, pace) as study:
        study.keep("goal", trials)
        say(f"sweep {name}: {study.done()} of {trials} trials done; Ctrl-C ends it and keeps them")
        tracked = {"sweep": settings.sweep, "generator": settings.generator(model)}
        own = job.folder / "run_id"
        try:
            with training_run("sweep", name, stage="sweep", settings=tracked, data=data, root=job.root, lineage=False, resume=own) as run:
                study.keep("parent_run", run.id)
                try:
                    work(job) if workers == 1 else with_workers(work, replace(job, owner=os.getpid()), workers)
                    if (done := study.done()) < trials:
                        raise InputError(f"study {name}: its workers ended after {done} of {trials} trials; see above, then run it again")
                finally:
                    result = study.result(job.folder)
                    write_tables(result)
                    run.final(_summary(result))
                    for file in (job.folder / "trials.csv", job.folder / "front.json", *(draw(result) if draw else ())):
                        run.artifact(file)
        except KeyboardInterrupt:
            interrupted = True
            say(f"sweep {name}: ended by hand; the same command goes on with it")
    return replace(result, interrupted=interrupted)


def join_sweep(
    settings: Settings,
    study_name: str,
    trial_of: Callable[[str], TrialFunction],
    root: Path,
    data: DataSource | None,
    basis: Mapping[str, str] = NOTHING,
    pace: Pace = USUAL,
) -> int:
    """Work on a study that `run_sweep` has begun until its trials are done; gives how many there are then.

    Raises:
        InputError: there is no such study, or it was made with other settings, ranges or data.
    """
    root = Path(root).resolve()
    with existing(root, study_name) as study:
        model, goal = str(study.recall("model")), study.recall("goal")
        if goal is None:
            raise InputError(f"study {study_name}: begun, but not how many trials it shall have; run `python cli.py sweep` with it first")
        say(f"sweep {study_name}: {study.done()} of {goal} trials done; working on it too, Ctrl-C leaves it to the others")
        job = Job(settings, model, trial_of(model), root, study_name, study_facts(settings, model, data, basis), pace)
        ensure_store(root)
        work(job)
        return study.done()


def load_sweep(root: Path, study_name: str) -> SweepResult:
    """A study as it stands.

    Raises:
        InputError: there is none of that name.
    """
    root = Path(root).resolve()
    with existing(root, study_name) as study:
        return study.result(root / "mlruns" / "sweeps" / study_name)


def work(job: Job) -> None:
    """Take trials of the study, one after the other, until it has as many as it shall have.

    Where all that are left are at work elsewhere, it waits for them: one that is cut off there is tried again here.
    """
    space = search_space(job.settings, job.model)
    with opened(job.root, job.study, job.facts, job.pace) as study:
        while study.done() < study.recall("goal") and job.owner in (0, os.getppid()):
            if (trial := study.take(job.settings.sweep, space, job.folder)) is None:
                time.sleep(job.pace.poll_s)
            else:
                with study.alive(trial):
                    _run(study, job, trial)


def _run(study: Study, job: Job, trial: Trial) -> None:
    label = f"{job.study} trial {trial.number}"
    try:
        score = _scored(study, job, trial, label)
    except BaseException as error:
        reason = INTERRUPTED if isinstance(error, KeyboardInterrupt | SystemExit) else _reason(error, job.root)
        trial.failed(reason, by_itself=isinstance(error, TrialFailedError))
        say(f"sweep {label}: failed: {reason}")
        if not isinstance(error, TrialFailedError):
            raise
    else:
        trial.succeeded(score)
        say(f"sweep {label}: DSC {score.dsc:.3f}, 95HD {score.hd95_mm:.1f} mm; {how_far(study.rows(), study.recall('goal'))}")


def _scored(study: Study, job: Job, trial: Trial, label: str) -> TrialScore:
    folder = job.root / ".work" / "sweeps" / job.study / str(trial.number)
    parent = study.recall("parent_run") or None
    tracked = {"model": job.model, "generator": model_values(job.settings, job.model, trial.values)}
    tags = {"trial": str(trial.number)}
    with (
        scratch_folder(folder) as scratch,
        training_run("sweep", label, stage="sweep", settings=tracked, tags=tags, parent=parent, root=job.root, lineage=False) as run,
    ):
        trial.keep("run_id", run.id)
        own = trial_settings(job.settings, job.model, trial.values)
        score = _usable(job.trial_function, own, scratch, run.id, trial.number)
        run.final({"val_dsc": score.dsc, "val_hd95_mm": score.hd95_mm})
    return score


def _usable(function: TrialFunction, settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
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


def _summary(result: SweepResult) -> dict[str, float]:
    counts = {"trials": float(len(result.trials)), "trials_failed": float(sum(row.state == "fail" for row in result.trials))}
    best = {"val_dsc": result.front[0].dsc or 0.0, "val_hd95_mm": result.front[0].hd95_mm or 0.0} if result.front else {}
    return {**counts, **best}


def _reason(error: BaseException, root: Path) -> str:
    first = portable((str(error).splitlines() or [""])[0], root)  # it is kept in tables and the database
    if isinstance(error, TrialFailedError):
        return first
    return f"{FAULT}: {first if isinstance(error, InputError) else f'{type(error).__name__}: {first}'}"
