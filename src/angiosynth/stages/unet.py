"""Stages train-unet and evaluate: what a U-net trained on real or synthetic patches is worth on patients."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.cohort import Split, load_split
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import write_mask
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.evaluation.metrics import all_metrics
from angiosynth.evaluation.patients import THRESHOLD, PatientScore, write_scores
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.evaluation.validation import validation_scores, validator
from angiosynth.experiments.registry import DRAWN, VALIDATED_ON
from angiosynth.experiments.tracking import DataSource, Run, reopen, training_run
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.output import read_json, whole_folder, write_json
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.training import train_unet as fit
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import Settings, digest
from angiosynth.stages.preflight import preflight
from angiosynth.stages.resuming import resume_folder, scans_digest
from angiosynth.stages.train_generator import generator_settings
from angiosynth.stages.workspace import (
    RUN,
    SEED,
    Workspace,
    chosen_settings,
    data_source,
    seeds_of,
    validation_over_seeds,
    write_curve,
)


def unet_settings(settings: Settings, data: str) -> dict[str, Any]:
    """The settings that train-unet@<data> depends on, with what select-unet has chosen in them."""
    return {"data": data, "unet": settings.unet, "intensity": settings.cohort.intensity}


def train_unet(settings: Settings, home: Workspace, data: str) -> None:
    """Train a U-net with every seed, as an MLflow run, with several seeds one of children; what an earlier run finished is kept.

    A generator's run gets the validation scores of the U-nets trained on its pairs.
    """
    preflight(settings, home, ("unet", "transfer"))
    settings = chosen_settings(settings, home)
    source = data_source(home.training_patches(data))
    facts = unet_settings(settings, data)
    split = load_split(home.splits, "site-a")
    scans, scored = home.scans(settings, "site-a", split.validation), home.patients(settings, "site-a", split.validation)
    kept = resume_folder(home, f"train-unet-{data}", facts, home.training_patches(data), split, scored)
    seeds = [settings.unet.seed + more for more in range(settings.unet.seeds)]
    whole = training_run(
        "unet",
        f"unet {data}",
        stage=f"train-unet@{data}",
        settings=facts,
        data=source,
        tags={VALIDATED_ON: scans_digest(scored), DRAWN: "yes" if home.drawn(settings) else "no"} if scored else {},
        resume=kept / RUN if len(seeds) > 1 else None,  # one seed starts anew, and so does its curve
    )
    with whole as run:
        for seed in seeds:
            folder = kept / f"{SEED}{seed}"
            if folder.exists():
                say(f"train-unet {data}: seed {seed} is there already")
                continue
            own = settings.model_copy(update={"unet": settings.unet.model_copy(update={"seed": seed, "seeds": 1})})
            with _run_of_seed(own, data, source, run) if len(seeds) > 1 else nullcontext(run) as recorder:
                trained = fit_unet(own, home, data, recorder, folder, scans)
                if recorder is not run:
                    recorder.final(trained.scores)
        _gather([kept / f"{SEED}{seed}" for seed in seeds], home.unet(data))
        scores = validation_over_seeds(home.unet(data))
        run.final(scores)
        for name in UNET_FILES:
            run.artifact(home.unet(data) / name)
        example = np.zeros((2, 1, settings.patches.size, settings.patches.size), np.float32)
        run.log_model(Served(load_segmenter(home.unet(data))), example, name="unet", register=f"unet-{data}")
    if data in settings.generators:
        reopen(f"train-generator@{data}", scores, settings=generator_settings(settings, data))
    Checkpoints(kept).clear()


def fit_unet(
    settings: Settings, home: Workspace, data: str, recorder: Recorder, folder: Path | None = None, scans: Sequence[Scan] | None = None
) -> TrainedUnet:
    """Train once, with `unet.seed`, on real patches or a synthetic set; site A's validation patients choose. Writes the U-net's folder.

    The patients' scans are read where none are handed in.
    """
    split = load_split(home.splits, "site-a")
    patches = open_patch_set(home.training_patches(data))
    if data == "real":
        patches = patches.of_patients(split.train)
    scans = home.scans(settings, "site-a", split.validation) if scans is None else scans
    own = settings.unet
    trained = fit(
        build_unet(own.width, own.dropout, own.seed),
        patches,
        own,
        validator(scans) if scans else None,
        recorder,
        validations=own.validations,
        augmentation=own.augmentation,
        precision=own.precision,
        what=f"train-unet {data}",
    )
    with whole_folder(folder or home.unet(data)) as written:
        save_unet(written, trained, own, unet_facts(settings, data, patches))
        write_curve(written / "curve.csv", trained.curve)
    return trained


def _run_of_seed(settings: Settings, data: str, source: DataSource, parent: Run) -> AbstractContextManager[Run]:
    return training_run(
        "unet",
        f"unet {data} seed {settings.unet.seed}",
        stage=f"train-unet@{data}",
        settings=unet_settings(settings, data),
        data=source,
        parent=parent.id or None,
        lineage=False,
    )


def _gather(trained: Sequence[Path], target: Path) -> None:
    """The seed that validation patients score highest becomes the U-net, the others lie beneath it."""

    def rank(path: Path) -> tuple[float, float]:
        facts = read_json(path / "unet.json")
        return facts.get("val_dsc", 0.0), -facts.get("val_hd95_mm", 0.0)

    best = max(trained, key=rank)
    with whole_folder(target) as folder:
        for path in trained:
            shutil.copytree(path, folder if path == best else folder / path.name, dirs_exist_ok=True)


def unet_facts(settings: Settings, data: str, patches: PatchSet) -> dict[str, Any]:
    """What goes beside a U-net's weights, nothing volatile in it."""
    return {
        "data": data,
        "n_patches": len(patches),
        "intensity": settings.cohort.intensity.model_dump(mode="json"),
        "settings_digest": digest(settings.unet, settings.cohort.intensity),
    }


def evaluate(settings: Settings, home: Workspace, data: str) -> None:
    """Score every seed's U-net, or the threshold baseline, on site A's test patients; keep the chosen one's predictions as NIfTI."""
    split = load_split(home.splits, "site-a")
    with whole_folder(home.predictions(data)) as folder:
        if data == THRESHOLD:
            segmenters = {0: _threshold(settings, home, split, folder)}
        else:
            settings = chosen_settings(settings, home)
            segmenters = {seed: _segment(load_segmenter(path)) for seed, path in seeds_of(home.unet(data)).items()}
        rows = []
        for patient in progress(home.patients(settings, "site-a", split.test), f"evaluate {data}", len(split.test)):
            scan = load_scan(patient, settings.cohort.intensity)
            for place, (seed, segment) in enumerate(segmenters.items()):
                found = segment(scan)
                if place == 0:
                    write_mask(found, scan.path, folder / f"{patient.id}.nii.gz")
                rows.append(PatientScore.of(patient.id, all_metrics(scan.truth, found, scan.spacing_mm), seed))
    write_scores(home.metrics / "patients" / f"{data}.csv", rows)
    _tell_runs(settings, data, rows)


def _segment(segmenter: Segmenter) -> Callable[[Scan], Mask]:
    return lambda scan: segmenter.segment(scan.image, scan.brain)


def _threshold(settings: Settings, home: Workspace, split: Split, folder: Path) -> Callable[[Scan], Mask]:
    """The baseline, picked on training patients; threshold.json tells it and its validation scores."""
    training = (load_scan(patient, settings.cohort.intensity) for patient in home.patients(settings, "site-a", split.train))
    cut = best_threshold(progress(training, "best threshold", len(split.train)))
    scans = home.scans(settings, "site-a", split.validation)
    segment: Callable[[Scan], Mask] = lambda scan: above(scan, cut)  # noqa: E731
    write_json(folder / "threshold.json", {"threshold": cut, **(validation_scores(scans, segment) if scans else {})})
    return segment


def _tell_runs(settings: Settings, data: str, rows: Sequence[PatientScore]) -> None:
    """Add the test scores, means over patients and seeds, to the runs of the U-net and of the generator behind it."""
    if not rows or data == THRESHOLD:
        return
    scores = {"test_dsc": float(np.mean([row.dsc for row in rows])), "test_hd95_mm": float(np.mean([row.hd95_mm for row in rows]))}
    reopen(f"train-unet@{data}", scores, settings=unet_settings(settings, data))
    if data in settings.generators:
        reopen(f"train-generator@{data}", scores, settings=generator_settings(settings, data))
