"""Stages train-unet and evaluate: what a U-net trained on real or synthetic patches is worth on patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.cohort import load_split
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import write_mask
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.evaluation.metrics import all_metrics
from angiosynth.evaluation.patients import PatientScore, write_scores
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.evaluation.validation import validation_scores, validator
from angiosynth.experiments.tracking import reopen, training_run
from angiosynth.runtime.output import whole_folder, write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.recorder import Recorder
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.training import train_unet as fit
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import MODELS, Settings, digest
from angiosynth.stages.gan import gan_settings
from angiosynth.stages.workspace import Workspace, data_source, write_curve


def unet_settings(settings: Settings, data: str) -> dict[str, Any]:
    """The settings that train-unet@<data> depends on."""
    return {"data": data, "unet": settings.unet, "intensity": settings.cohort.intensity}


def train_unet(settings: Settings, home: Workspace, data: str) -> None:
    """Train one U-net as an MLflow run; a GAN's run gets the validation scores of the U-net trained on its pairs."""
    source = data_source(home.training_patches(data))
    with training_run("unet", f"unet {data}", stage=f"train-unet@{data}", settings=unet_settings(settings, data), data=source) as run:
        trained = fit_unet(settings, home, data, run)
        run.final(trained.scores)
        for name in UNET_FILES:
            run.artifact(home.unet(data) / name)
        size = settings.patches.size
        run.log_model(trained.segmenter.unet.eval(), np.zeros((2, 1, size, size), np.float32), name="unet", register=f"unet-{data}")
    if data in MODELS:
        reopen(f"train-gan@{data}", trained.scores, settings=gan_settings(settings, data))


def fit_unet(settings: Settings, home: Workspace, data: str, recorder: Recorder) -> TrainedUnet:
    """Train on real patches or a synthetic set, chosen by site A's validation patients; write the U-net's folder."""
    split = load_split(home.splits, "site-a")
    patches = open_patch_set(home.training_patches(data))
    if data == "real":
        patches = patches.of_patients(split.train)
    scans = home.scans(settings, "site-a", split.validation)
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
    with whole_folder(home.unet(data)) as folder:
        save_unet(folder, trained, own, unet_facts(settings, data, patches))
        write_curve(folder / "curve.csv", trained.curve)
    return trained


def unet_facts(settings: Settings, data: str, patches: PatchSet) -> dict[str, Any]:
    """What goes beside a U-net's weights, nothing volatile in it."""
    return {
        "data": data,
        "n_patches": len(patches),
        "intensity": settings.cohort.intensity.model_dump(mode="json"),
        "settings_digest": digest(settings.unet, settings.cohort.intensity),
    }


def evaluate(settings: Settings, home: Workspace, data: str) -> None:
    """Score one U-net, or the threshold baseline, on site A's test patients; keep its predictions as NIfTI."""
    split = load_split(home.splits, "site-a")
    with whole_folder(home.predictions(data)) as folder:
        if data == "threshold":
            training = (load_scan(patient, settings.cohort.intensity) for patient in home.patients(settings, "site-a", split.train))
            scans = home.scans(settings, "site-a", split.validation)
            cut = best_threshold(progress(training, "best threshold", len(split.train)))
            segment: Callable[[Scan], Mask] = lambda scan: above(scan, cut)  # noqa: E731
            write_json(folder / "threshold.json", {"threshold": cut, **(validation_scores(scans, segment) if scans else {})})
        else:
            segmenter = load_segmenter(home.unet(data))
            segment = lambda scan: segmenter.segment(scan.image, scan.brain)  # noqa: E731
        rows = []
        for patient in progress(home.patients(settings, "site-a", split.test), f"evaluate {data}", len(split.test)):
            scan = load_scan(patient, settings.cohort.intensity)
            found = segment(scan)
            write_mask(found, scan.path, folder / f"{patient.id}.nii.gz")
            rows.append(PatientScore.of(patient.id, all_metrics(scan.truth, found, scan.spacing_mm)))
    write_scores(home.metrics / "patients" / f"{data}.csv", rows)
    _tell_runs(settings, data, rows)


def _tell_runs(settings: Settings, data: str, rows: Sequence[PatientScore]) -> None:
    """Add the test scores to the runs of the U-net and of the GAN behind it."""
    if not rows or data == "threshold":
        return
    scores = {"test_dsc": float(np.mean([row.dsc for row in rows])), "test_hd95_mm": float(np.mean([row.hd95_mm for row in rows]))}
    reopen(f"train-unet@{data}", scores, settings=unet_settings(settings, data))
    if data in MODELS:
        reopen(f"train-gan@{data}", scores, settings=gan_settings(settings, data))
