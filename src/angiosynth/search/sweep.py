"""Sweeps over the settings of one generator.

Two objectives on validation patients: maximise DSC, minimise 95HD. A trial gets settings and a scratch folder; test patients are not used.
Any number of processes may work on one study. They share its database, and each takes the next trial under a lock.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.search.results import FAULT, INTERRUPTED, SweepResult, TrialScore, how_far, is_hopeless, mean_score, write_tables
from angiosynth.search.space import model_values, reseeded, search_space, study_facts, trial_settings
from angiosynth.search.study import Study, Trial, TrialFailedError, existing, opened
from angiosynth.search.workers import DEFAULT_PACE, Pace, with_workers
from angiosynth.settings import Settings, digest
from angiosynth.tracking.lineage import portable
from angiosynth.tracking.runs import DataSource, RunSpec, ensure_store, training_run

DIVERGED = re.compile(r"diverged|not finite|non-finite", re.IGNORECASE)
TrialFunction = Callable[[Settings, Path, str, int], TrialScore]


@dataclass(frozen=True)
class Sweep:
    """A search over the settings of one generator, and the function that scores a trial.

    Attributes:
        settings: params.yaml; section `sweep` has the ranges, the sampler, its seed and the size of a trial.
        model: name of the generator.
        trial_function: (settings of the trial, empty scratch folder, parent run id, trial number) -> score. The trial fails and the sweep
            continues after a FloatingPointError, an InputError that contains "diverged", a score that is not finite, or a DSC of 0. Any
            other exception ends the sweep. The scratch folder is removed after the trial. With several workers it must be picklable.
        root: folder that contains mlruns/.
        data: data of the trials. A study can only be continued with the same data.
        basis: name -> digest of further data and code on which scores depend, such as the validation scans; must not change either.
        pace: intervals of heartbeats.
    """

    settings: Settings
    model: str
    trial_function: TrialFunction
    root: Path
    data: DataSource | None = None
    basis: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = DEFAULT_PACE

    def facts(self) -> dict[str, str]:
        """Return the values that all trials of the study must share."""
        return study_facts(self.settings, self.model, self.data, self.basis)


@dataclass(frozen=True)
class Job:
    """Arguments of a worker; picklable."""

    sweep: Sweep
    study: str
    owner: int = 0  # id of the parent process; when the parent has ended the worker ends after its current trial


def run_sweep(
    sweep: Sweep,
    trials: int,
    study_name: str | None = None,
    *,
    workers: int = 1,
    draw: Callable[[SweepResult], Sequence[Path]] | None = None,
) -> SweepResult:
    """Run a study until it has `trials` trials, and write mlruns/sweeps/<study>/trials.csv and front.json.

    Args:
        sweep: the search.
        trials: total number of trials including existing ones; interrupted trials do not count.
        study_name: name of the study; by default the model and a digest of `Sweep.facts`.
        workers: number of processes.
        draw: draws figures of the result and returns their paths.

    Raises:
        InputError: an argument is invalid, the database cannot be opened, or the study was made with other settings or ranges.
    """
    if trials < 1 or workers < 1:
        raise InputError(f"--trials {trials} --workers {workers}: must be 1 or more")
    facts = sweep.facts()
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name := study_name or f"{sweep.model}-{digest(facts)[:8]}"):
        raise InputError(f"study {name!r}: letters, digits, dot, dash and underscore only")
    job = Job(replace(sweep, root=Path(sweep.root).resolve()), name)
    root = job.sweep.root
    ensure_store(root)
    interrupted = False
    with opened(root, name, facts, sweep.pace) as study:
        study.set_attribute("goal", trials)
        say(f"sweep {name}: {study.done()} of {trials} trials done; Ctrl-C ends it and keeps them")
        tracked = {"sweep": sweep.settings.sweep, "generator": sweep.settings.generator(sweep.model)}
        spec = RunSpec("sweep", name, stage="sweep", settings=tracked, data=sweep.data)
        try:
            with training_run(spec, root=root, lineage=False, resume=study.folder / "run_id") as run:
                study.set_attribute("parent_run", run.id)
                try:
                    work(job) if workers == 1 else with_workers(work, replace(job, owner=os.getpid()), workers)
                    if (done := study.done()) < trials:
                        raise InputError(f"study {name}: its workers ended after {done} of {trials} trials; see above, then run it again")
                finally:  # tables and figures also after an interruption or a fault
                    result = study.result()
                    write_tables(result)
                    run.final(_summary(result))
                    for file in (study.folder / "trials.csv", study.folder / "front.json", *(draw(result) if draw else ())):
                        run.artifact(file)
        except KeyboardInterrupt:
            interrupted = True
            say(f"sweep {name}: ended by hand; the same command goes on with it")
    return replace(result, interrupted=interrupted)


def join_sweep(root: Path, study_name: str, sweep_of: Callable[[str], Sweep]) -> int:
    """Work on a study that `run_sweep` has started until it is complete; returns its number of trials.

    Args:
        root: folder that contains mlruns/.
        study_name: name of the study.
        sweep_of: function from the study's model to the search.

    Raises:
        InputError: the study does not exist, or was made with other settings, ranges or data.
    """
    root = Path(root).resolve()
    with existing(root, study_name) as study:
        goal = study.attribute("goal")
        if goal is None:
            raise InputError(f"study {study_name}: begun, but not how many trials it shall have; run `python cli.py sweep` with it first")
        say(f"sweep {study_name}: {study.done()} of {goal} trials done; working on it too, Ctrl-C leaves it to the others")
        sweep = replace(sweep_of(str(study.attribute("model"))), root=root)
        ensure_store(root)
        work(Job(sweep, study_name))
        return study.done()


def load_sweep(root: Path, study_name: str) -> SweepResult:
    """Return the current result of a study.

    Raises:
        InputError: no study has this name.
    """
    with existing(Path(root).resolve(), study_name) as study:
        return study.result()


def work(job: Job) -> None:
    """Run trials of the study until it has reached its goal."""
    sweep = job.sweep
    with opened(sweep.root, job.study, sweep.facts(), sweep.pace) as study:

        def report(number: int) -> None:
            rows = study.rows()
            if rows[number].dsc is not None:
                score = f"DSC {rows[number].dsc:.3f}, 95HD {rows[number].hd95_mm:.1f} mm"
                say(f"sweep {job.study} trial {number}: {score}; {how_far(rows, study.attribute('goal'))}")

        study.optimize(
            sweep.settings.sweep,
            search_space(sweep.settings, sweep.model),
            partial(_scored, study, sweep),
            after=report,
            wanted=lambda: job.owner in (0, os.getppid()),
        )


def _scored(study: Study, sweep: Sweep, trial: Trial) -> TrialScore:
    label = f"{study.name} trial {trial.number}"
    try:
        return _tracked(study, sweep, trial, label)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        reason = INTERRUPTED if isinstance(error, KeyboardInterrupt | SystemExit) else _reason(error, sweep.root)
        trial.keep("reason", reason)
        say(f"sweep {label}: failed: {reason}")
        raise


def _tracked(study: Study, sweep: Sweep, trial: Trial, label: str) -> TrialScore:
    folder = sweep.root / ".work" / "sweeps" / study.name / str(trial.number)
    parent = study.attribute("parent_run") or None
    tracked = {"model": sweep.model, "generator": model_values(sweep.settings, sweep.model, trial.values)}
    spec = RunSpec("sweep", label, stage="sweep", settings=tracked, tags={"trial": str(trial.number)}, parent=parent)
    scores: list[TrialScore] = []
    with training_run(spec, root=sweep.root, lineage=False) as run:
        trial.keep("run_id", run.id)
        first = trial_settings(sweep.settings, sweep.model, trial.values)
        for shift in range(sweep.settings.sweep.seeds):
            settings = reseeded(first, sweep.model, shift) if shift else first
            with scratch_folder(folder) as scratch:
                scores.append(_usable(sweep.trial_function, settings, scratch, run.id, trial.number))
            if sweep.settings.sweep.seeds > 1:
                run.final({f"val_dsc_seed_{shift + 1}": scores[-1].dsc, f"val_hd95_mm_seed_{shift + 1}": scores[-1].hd95_mm})
                # Optuna does not support pruning with two objectives. A hopeless trial keeps the score of its first seed for the sampler.
                if not shift and is_hopeless(scores[0], study.rows()):
                    say(f"sweep {label}: worse in both scores than half of the trials after its first seed; it gets no further ones")
                    break
        score = mean_score(scores) if len(scores) > 1 else scores[0]
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
    first = portable((str(error).splitlines() or [""])[0], root)  # without local paths, since it is stored in tables and the database
    if isinstance(error, TrialFailedError):
        return first
    return f"{FAULT}: {first if isinstance(error, InputError) else f'{type(error).__name__}: {first}'}"
