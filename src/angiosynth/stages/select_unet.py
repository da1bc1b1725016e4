"""Stage select-unet: select the settings of the U-net from a grid, by scores on validation patients."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiosynth.compute.threads import use_threads
from angiosynth.errors import InputError
from angiosynth.project.resuming import TrainingInputs, resume_folder
from angiosynth.project.workspace import CHOSEN, RUN, Workspace, data_source
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import say
from angiosynth.segmentation.facts import read_facts
from angiosynth.settings import SelectionSettings, Settings, UnetSettings

if TYPE_CHECKING:
    from angiosynth.data.intensity import Scan

Point = dict[str, Any]  # names and values of the selected settings, val_dsc, val_hd95_mm


def grid_of(selection: SelectionSettings, unet: UnetSettings) -> list[UnetSettings]:
    """Return all combinations of the listed values, last name fastest, each with one seed. An empty list stands for the value of `unet`."""
    ranges = [getattr(selection, name) or (getattr(unet, name),) for name in CHOSEN]
    return [unet.model_copy(update={**dict(zip(CHOSEN, values, strict=True)), "seeds": 1}) for values in itertools.product(*ranges)]


def select_unet(settings: Settings, home: Workspace) -> None:
    """Write models/unet-choice.json: the settings with which all U-nets are trained, and the scores of the grid.

    The grid is trained on real patches, so that all U-nets share one selection and differ only in their data. A grid with a single point is
    not trained. Points that an earlier run has finished are not trained again.

    Raises:
        InputError: the grid has several points and there is no validation patient.
    """
    use_threads(settings.threads)
    grid = grid_of(settings.selection, settings.unet)
    points, kept = _train(settings, home, grid) if len(grid) > 1 else ([], None)
    best = _best(points) if points else _values(grid[0])
    if points:
        say(f"select-unet: chosen by validation patients: {_name(best)} (DSC {best['val_dsc']:.3f})")
    write_json(home.unet_choice, {**{name: best[name] for name in CHOSEN}, "points": points})
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)


def _train(settings: Settings, home: Workspace, grid: Sequence[UnetSettings]) -> tuple[list[Point], Path]:
    """Train each point as a child run; returns the validation scores of all points, and the folder of resume files."""
    from angiosynth.data.split import load_split
    from angiosynth.project.facts import unet_settings
    from angiosynth.project.preflight import preflight
    from angiosynth.stages.train_unet import fit_unet
    from angiosynth.tracking.runs import RunSpec, training_run

    preflight(settings, home, ("unet", "transfer"))
    split = load_split(home.splits, settings.cohort.source)
    scans: list[Scan] = home.scans(settings, settings.cohort.source, split.validation)
    if not scans:
        path = home.splits / f"{settings.cohort.source}.json"
        raise InputError(f"{path}: no validation patients to choose by; name some in cohort.sites, or empty the lists of selection")
    source = data_source(home.patches(settings.cohort.source))
    tracked = {"selection": settings.selection, "unet": grid[0], "intensity": settings.cohort.intensity, "threads": settings.threads}
    scored = home.patients(settings, settings.cohort.source, split.validation)
    kept = resume_folder(home, "select-unet", TrainingInputs(tracked, home.patches(settings.cohort.source), split, scored))
    points = []
    with training_run(RunSpec("unet", "select-unet", stage="select-unet", settings=tracked, data=source), resume=kept / RUN) as parent:
        # Train each point of the grid, unless an interrupted run has trained it.
        for number, unet in enumerate(grid):
            folder = kept / f"point-{number}"
            name = _name(_values(unet))
            if folder.exists():
                say(f"select-unet: {name} is there already")
            else:
                say(f"select-unet: {number + 1} of {len(grid)}: {name}")
                at_point = settings.model_copy(update={"unet": unet})
                of_point = unet_settings(at_point, "real")
                child = training_run(
                    RunSpec("unet", name, stage="select-unet", settings=of_point, data=source, parent=parent.id or None), lineage=False
                )
                with child as run:
                    run.final(fit_unet(at_point, home, "real", run, folder, scans).scores)
            trained = read_facts(folder)
            points.append({**_values(unet), "val_dsc": trained.val_dsc, "val_hd95_mm": trained.val_hd95_mm})
        # Record the selected point in the parent run.
        best = _best(points)
        parent.final({key: best[key] for key in ("val_dsc", "val_hd95_mm")})
        for name in CHOSEN:
            parent.tag(f"chosen.{name}", str(best[name]))
    return points, kept


def _best(points: Sequence[Point]) -> Point:
    """The point with the highest DSC; ties are broken by the lower 95HD, then by order."""
    return min(points, key=lambda point: (-point["val_dsc"], point["val_hd95_mm"]))


def _values(unet: UnetSettings) -> Point:
    return {name: getattr(unet, name) for name in CHOSEN}


def _name(values: Point) -> str:
    """Format a point as "learning_rate 0.0001, dropout 0.1, augmentation on"."""
    texts = {True: "on", False: "off"}
    return ", ".join(f"{name} {texts[values[name]] if isinstance(values[name], bool) else format(values[name], 'g')}" for name in CHOSEN)
