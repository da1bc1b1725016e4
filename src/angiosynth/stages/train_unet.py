"""Stage train-unet: train a U-net on real or synthetic patches and select it on whole scans of validation patients."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.compute.threads import use_threads
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.project.facts import generator_settings, unet_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.resuming import TrainingInputs, resume_folder, scans_digest
from angiosynth.project.workspace import (
    RUN,
    SEED,
    Workspace,
    chosen_settings,
    data_source,
    training_digest,
    validation_over_seeds,
    write_curve,
)
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.progress import say
from angiosynth.runtime.recorder import Recorder
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet, train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings, digest
from angiosynth.tracking.registry import DRAWN, VALIDATED_ON
from angiosynth.tracking.runs import DataSource, Run, RunSpec, reopen, training_run


def train_unet(settings: Settings, home: Workspace, data: str) -> None:
    """Train a U-net with each seed as an MLflow run; several seeds have a child run each.

    Seeds that an earlier, interrupted run has finished are not trained again. Validation scores are added to the run of the generator that
    made the pairs.
    """
    use_threads(settings.threads)
    preflight(settings, home, ("unet", "transfer"))
    settings = chosen_settings(settings, home)
    source, tracked = data_source(home.training_patches(settings, data)), unet_settings(settings, data)
    split = load_split(home.splits, settings.cohort.source)
    scans = home.scans(settings, settings.cohort.source, split.validation)
    scored = home.patients(settings, settings.cohort.source, split.validation)
    kept = resume_folder(home, f"train-unet-{data}", TrainingInputs(tracked, home.training_patches(settings, data), split, scored))
    folders = {settings.unet.seed + number: kept / f"{SEED}{settings.unet.seed + number}" for number in range(settings.unet.seeds)}
    whole = training_run(
        RunSpec(
            "unet",
            f"unet {data}",
            stage=f"train-unet@{data}",
            settings=tracked,
            data=source,
            tags={VALIDATED_ON: scans_digest(scored), DRAWN: "yes" if home.drawn(settings) else "no"} if scored else {},
        ),
        resume=kept / RUN if len(folders) > 1 else None,  # a single seed always starts again, with a new curve
    )
    with whole as run:
        # train each seed into the resume folder
        for seed, folder in folders.items():
            if folder.exists():
                say(f"train-unet {data}: seed {seed} is there already")
                continue
            of_seed = settings.model_copy(update={"unet": settings.unet.model_copy(update={"seed": seed, "seeds": 1})})
            with _run_of_seed(of_seed, data, source, run) if len(folders) > 1 else nullcontext(run) as recorder:
                trained = fit_unet(of_seed, home, data, recorder, folder, scans)
                if recorder is not run:
                    recorder.final(trained.scores)
        # write all seeds to the output of the stage at once, and record the selected one
        _gather([*folders.values()], home.unet(data))
        scores = validation_over_seeds(home.unet(data))
        run.final(scores)
        for name in UNET_FILES:
            run.artifact(home.unet(data) / name)
        example = np.zeros((2, 1, settings.patches.size, settings.patches.size), np.float32)
        run.log_model(Served(load_segmenter(home.unet(data))), example, name="unet", register=f"unet-{data}")
    if data in settings.generators:
        reopen(f"train-generator@{data}", scores, settings=generator_settings(settings, data))
    Checkpoints(kept).clear()  # only after everything is written, so that a killed stage can be resumed until then


def fit_unet(
    settings: Settings, home: Workspace, data: str, recorder: Recorder, folder: Path | None = None, scans: Sequence[Scan] | None = None
) -> TrainedUnet:
    """Train once, with `unet.seed`, on real patches or a synthetic set, select on validation patients, and write the U-net's folder.

    `scans` are those of the validation patients; they are read from disk if not given.
    """
    split = load_split(home.splits, settings.cohort.source)
    patches = open_patch_set(home.training_patches(settings, data))
    if data == "real":
        patches = patches.of_patients(split.train)
    scans = home.scans(settings, settings.cohort.source, split.validation) if scans is None else scans
    trained = train_segmenter(settings.unet, patches, validator(scans), recorder, f"train-unet {data}")
    facts = {**unet_facts(settings, data, patches), "patches_digest": training_digest(settings, home, data)}
    write_unet(folder or home.unet(data), trained, settings, facts)
    return trained


def write_unet(target: Path, trained: TrainedUnet, settings: Settings, facts: dict[str, Any]) -> None:
    """Write the folder of a U-net atomically: weights, metadata including `facts`, training curve."""
    with whole_folder(target) as folder:
        save_unet(folder, trained, settings.unet, facts)
        write_curve(folder / "curve.csv", trained.curve)


def _run_of_seed(settings: Settings, data: str, source: DataSource, parent: Run) -> AbstractContextManager[Run]:
    return training_run(
        RunSpec(
            "unet",
            f"unet {data} seed {settings.unet.seed}",
            stage=f"train-unet@{data}",
            settings=unet_settings(settings, data),
            data=source,
            parent=parent.id or None,
        ),
        lineage=False,
    )


def _gather(trained: Sequence[Path], target: Path) -> None:
    """Copy trained U-nets into a new folder: the best one by validation into the folder, the others into subfolders."""

    def quality(path: Path) -> tuple[float, float]:
        metadata = read_facts(path)
        return metadata.val_dsc or 0.0, -(metadata.val_hd95_mm or 0.0)

    best = max(trained, key=quality)
    with whole_folder(target) as folder:
        for path in trained:
            shutil.copytree(path, folder if path == best else folder / path.name, dirs_exist_ok=True)


def unet_facts(settings: Settings, data: str, patches: PatchSet) -> dict[str, Any]:
    """Return the metadata of a U-net that is stored next to its weights and does not vary between equal runs."""
    return {
        "data": data,
        "n_patches": len(patches),
        "intensity": settings.cohort.intensity.model_dump(mode="json"),
        "settings_digest": digest(settings.unet, settings.cohort.intensity),
    }
