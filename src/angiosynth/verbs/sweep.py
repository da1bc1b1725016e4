"""Run sweeps: a trial runs the stage functions with other settings, in a scratch folder, on validation patients only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from angiosynth.data.split import load_split
from angiosynth.errors import InputError, printable_lines
from angiosynth.project.params import change_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.resuming import code_digest, files_digest, scans_digest
from angiosynth.project.workspace import Workspace, data_source, patients_digest, seeds_of
from angiosynth.report.sweep_figures import sweep_figures
from angiosynth.runtime.output import write_json
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.search.results import SweepResult, TrialRow, TrialScore, chosen, hypervolumes, knee
from angiosynth.search.space import model_values
from angiosynth.search.sweep import Sweep, join_sweep, load_sweep, run_sweep
from angiosynth.segmentation.storage import UNET_FILES
from angiosynth.settings import Settings, load_settings
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import fit_generator, generator_checkpoints
from angiosynth.stages.train_unet import fit_unet
from angiosynth.tracking.runs import project_root


@dataclass(frozen=True)
class ModelTrial:
    """The trial of a sweep: train the generator, draw pairs, train a U-net on them.

    A trial never reads test patients, because none of these stages does.
    """

    model: str

    def __call__(self, settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        del run_id, number
        home = Workspace(root=scratch)
        fit_generator(settings, home, self.model, NullRecorder(), generator_checkpoints(settings, home, self.model))
        synthesize(settings, home, self.model)
        scores = fit_unet(settings, home, self.model, NullRecorder()).scores
        return TrialScore(scores["val_dsc"], scores["val_hd95_mm"])


def sweep(settings: Settings, home: Workspace, model: str, trials: int, study: str | None = None, workers: int = 1) -> SweepResult:
    """Run the model's study until it has `trials` trials; write its tables and figures to its folder and its MLflow run."""
    preflight(settings, home, (f"generators.{model}", "unet"), workers)
    return run_sweep(_sweep_of(settings, home, model), trials, study, workers=workers, draw=partial(show, home=home))


def sweep_worker(settings: Settings, home: Workspace, study: str) -> int:
    """Run trials of an existing study in this process. With studies in PostgreSQL, workers may be on several machines."""
    return join_sweep(project_root(), study, partial(_sweep_of, settings, home))


def _sweep_of(settings: Settings, home: Workspace, model: str) -> Sweep:
    data = data_source(home.patches(settings.cohort.source))
    return Sweep(settings, model, ModelTrial(model), project_root(), data, basis(settings, home, model))


def basis(settings: Settings, home: Workspace, model: str) -> dict[str, str]:
    """Return digests of what every trial of a model depends on besides the settings.

    These are the training patients, the validation scans, the code and, if U-nets label the sets, their weights.

    Raises:
        InputError: a file is missing or damaged.
    """
    source = settings.cohort.source
    split = load_split(home.splits, source)
    scans = scans_digest(home.patients(settings, source, split.validation))
    values = {"training_patients": patients_digest(home.patches(source), split.train), "validation_scans": scans, "code": code_digest()}
    if settings.labelled_by_unet(model):
        trained = seeds_of(home.labelling_unet).values()
        values["labelling_unet"] = files_digest([folder / name for folder in trained for name in UNET_FILES])
    return values


def sweep_apply(params: Path, study: str, number: int | None, rule: str = "knee") -> str:
    """Write the values of one trial into the settings file.

    Args:
        params: the settings file.
        study: name of the study.
        number: the trial; None for the point of the Pareto front that `rule` selects.
        rule: "knee", "dsc" or "hd95_mm".

    Returns:
        The changes, and the reason for the choice, as text.

    Raises:
        InputError: the study or the trial does not exist, or the trial has no score.
    """
    result = load_sweep(project_root(), study)
    row, why = (_complete(result, number), "chosen by hand") if number is not None else chosen(result.front, rule)
    values = model_values(load_settings(params), result.model, row.params)
    changes = change_settings(params, ("generators", result.model), values)
    lines = [f"study {study}: trial {row.number} (DSC {row.dsc:.3f}, 95HD {row.hd95_mm:.2f} mm on validation patients), {why}"]
    lines += [f"{params}: generators.{result.model}.{key}: {before} -> {after}" for key, before, after in changes if before != after]
    return printable_lines([*lines, "`dvc repro` trains it at full length" if len(lines) > 1 else f"{params}: has these values already"])


def show(result: SweepResult, home: Workspace) -> list[Path]:
    """Write sweeps/<study>.json for the report, draw the study's figures in its folder, and return the figures' paths."""
    summary = facts(result)
    write_json(home.sweeps / f"{result.study}.json", summary)
    return list(sweep_figures(summary, result.folder).values())


def facts(result: SweepResult) -> dict[str, Any]:
    """Return the results of a study for the report, without run ids, times and folders: DVC remakes the report only if a result changes."""
    trials = [
        {
            "number": row.number,
            "state": row.state,
            "reason": row.reason,
            "val_dsc": row.dsc,
            "val_hd95_mm": row.hd95_mm,
            "params": row.params,
        }
        for row in result.trials
    ]
    return {
        "study": result.study,
        "model": result.model,
        "trials": trials,
        "front": [row.number for row in result.front],
        "knee": knee(result.front).number if result.front else None,
        "hypervolume": hypervolumes(result.trials) if result.front else [],
        "importances": result.importances,
    }


def result_table(result: SweepResult) -> str:
    """Format the study as lines of text, with a star at each trial of the Pareto front."""
    lines = [f"study {result.study}: {len(result.trials)} trials, tables in mlruns/sweeps/{result.folder.name}/"]
    best = {row.number for row in result.front}
    for row in result.trials:
        scores = f"DSC {row.dsc:.3f}, 95HD {row.hd95_mm:.2f} mm" if row.dsc is not None and row.hd95_mm is not None else row.reason
        values = ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in row.params.items())
        lines.append(f"{'*' if row.number in best else ' '} {row.number:>3} {row.state}: {scores} ({values})")
    return printable_lines(lines)


def _complete(result: SweepResult, number: int) -> TrialRow:
    matches: Sequence[TrialRow] = [row for row in result.trials if row.number == number and row.dsc is not None]
    if not matches:
        known = ", ".join(str(row.number) for row in result.trials if row.dsc is not None)
        raise InputError(f"study {result.study}: trial {number} has no score; complete are {known or 'none'}")
    return matches[0]
