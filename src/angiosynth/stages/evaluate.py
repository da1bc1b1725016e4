"""Stage evaluate: score a U-net, or the best global threshold, on test patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.compute.threads import use_threads
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import write_mask
from angiosynth.data.split import Split, load_split
from angiosynth.evaluation.patients import THRESHOLD, PatientScore, write_scores
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.metrics.segmentation import all_metrics
from angiosynth.project.facts import generator_settings, unet_settings
from angiosynth.project.workspace import (
    Workspace,
    chosen_settings,
    seeds_of,
)
from angiosynth.runtime.output import whole_folder, write_json
from angiosynth.runtime.progress import progress
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.segmentation.validation import validation_scores
from angiosynth.settings import REAL, Settings
from angiosynth.tracking.runs import reopen


def evaluate(settings: Settings, home: Workspace, data: str) -> None:
    """Score the U-nets of all seeds, or the threshold baseline, on test patients of the source; store one set of predictions as NIfTI.

    Predictions are those of the seed with the best validation score. The U-net of real patches also segments held-out people without a
    label, for the audit.
    """
    use_threads(settings.threads)
    split = load_split(home.splits, settings.cohort.source)
    with whole_folder(home.predictions(data)) as folder:
        # One segmentation function for each seed, the selected seed first.
        if data == THRESHOLD:
            segmenters = {0: _threshold(settings, home, split, folder)}
        else:
            settings = chosen_settings(settings, home)
            segmenters = {seed: _segment(load_segmenter(path)) for seed, path in seeds_of(home.unet(data)).items()}
        # Score each test patient with all seeds; keep the mask of the selected one.
        rows = []
        for patient in progress(home.patients(settings, settings.cohort.source, split.test), f"evaluate {data}", len(split.test)):
            scan = load_scan(patient, settings.cohort.intensity)
            for place, (seed, segment) in enumerate(segmenters.items()):
                mask = segment(scan)
                if place == 0:
                    write_mask(mask, scan.path, folder / f"{patient.id}.nii.gz")
                rows.append(PatientScore.of(patient.id, all_metrics(scan.truth, mask, scan.spacing_mm), seed))
        # Segment held-out people without a label, for the audit.
        if data == REAL:
            unlabelled = [patient for patient in home.patients(settings, settings.cohort.source, split.held_out) if patient.label is None]
            for patient in progress(unlabelled, "segment those held out", len(unlabelled)) if unlabelled else ():
                scan = load_scan(patient, settings.cohort.intensity)
                write_mask(next(iter(segmenters.values()))(scan), scan.path, folder / f"{patient.id}.nii.gz")
    write_scores(home.metrics / "patients" / f"{data}.csv", rows)
    _record_scores(settings, data, rows)


def _segment(segmenter: Segmenter) -> Callable[[Scan], Mask]:
    return lambda scan: segmenter.segment(scan.image, scan.brain)


def _threshold(settings: Settings, home: Workspace, split: Split, folder: Path) -> Callable[[Scan], Mask]:
    """Select the baseline's threshold on training patients, and write it with its validation scores to threshold.json."""
    training = (load_scan(patient, settings.cohort.intensity) for patient in home.patients(settings, settings.cohort.source, split.train))
    cut = best_threshold(progress(training, "best threshold", len(split.train)))
    scans = home.scans(settings, settings.cohort.source, split.validation)
    segment: Callable[[Scan], Mask] = lambda scan: above(scan, cut)  # noqa: E731
    write_json(folder / "threshold.json", {"threshold": cut, **(validation_scores(scans, segment) if scans else {})})
    return segment


def _record_scores(settings: Settings, data: str, rows: Sequence[PatientScore]) -> None:
    """Add the mean test scores over patients and seeds to the runs of the U-net and of its generator."""
    if not rows or data == THRESHOLD:
        return
    scores = {"test_dsc": float(np.mean([row.dsc for row in rows])), "test_hd95_mm": float(np.mean([row.hd95_mm for row in rows]))}
    reopen(f"train-unet@{data}", scores, settings=unet_settings(settings, data))
    if data in settings.generators:
        reopen(f"train-generator@{data}", scores, settings=generator_settings(settings, data))
