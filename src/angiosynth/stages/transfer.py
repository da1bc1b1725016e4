"""Stage transfer: train at target sites with few patients each, from scratch or from a U-net trained at the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.compute.threads import use_threads
from angiosynth.data.intensity import Scan
from angiosynth.data.joined_patches import joined
from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.evaluation.patients import SCRATCH, TransferScore, read_transfer, write_transfer
from angiosynth.evaluation.transfer import Subset, subsets
from angiosynth.metrics.segmentation import all_metrics
from angiosynth.project.facts import transfer_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.resuming import TrainingInputs, resume_folder
from angiosynth.project.workspace import RUN, Workspace, chosen_settings, data_source
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import say
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter
from angiosynth.segmentation.training import TrainedUnet, train_segmenter, with_values_of
from angiosynth.segmentation.unet import Unet
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings, TransferSettings, UnetSettings, WorthSettings
from angiosynth.tracking.runs import RunSpec, training_run


@dataclass(frozen=True)
class SubsetTrainings:
    """Trainings on subsets of the patients of one site.

    Attributes:
        stage: name of the stage in dvc.yaml.
        experiment: name of the MLflow experiment.
        title: title of runs and progress; with hyphens, name of the resume folder.
        site, start: as in `TransferScore`.
        sizes: numbers of patients and of subsets.
        schedule: settings of each training.
        facts: settings that affect the result, for runs and resume keys.
        joined: folder of a synthetic set that is joined with the patches of each subset.
    """

    stage: str
    experiment: str
    title: str
    site: str
    start: str
    sizes: TransferSettings | WorthSettings
    schedule: UnetSettings
    facts: dict[str, Any]
    joined: Path | None = None


def transfer(settings: Settings, home: Workspace, start: str) -> None:
    """Fine-tune from one start at every target site with every subset. Trainings that an earlier run has finished are not repeated."""
    use_threads(settings.threads)
    target = home.metrics / "transfer" / f"{start}.csv"
    if not settings.cohort.targets:
        say("transfer: there is no other site, the table stays empty")
        write_transfer(target, [])
        return
    preflight(settings, home, ("transfer",))
    settings = chosen_settings(settings, home)
    rows, folders = [], []
    for site in settings.cohort.targets:
        tracked, schedule = transfer_settings(settings, start, site), with_values_of(settings.transfer, settings.unet)
        title = f"transfer {start} {site}"
        trainings = SubsetTrainings(f"transfer@{start}", "transfer", title, site, start, settings.transfer, schedule, tracked)
        done, folder = train_on_subsets(settings, home, trainings)
        rows += done
        folders.append(folder)
    write_transfer(target, rows)
    for folder in folders:  # only after everything is written, so that a killed stage can be resumed until then
        Checkpoints(folder).clear()


def train_on_subsets(settings: Settings, home: Workspace, trainings: SubsetTrainings) -> tuple[list[TransferScore], Path]:
    """Run all trainings; returns their scores, one row per training and test patient, and the folder of resume files."""
    site, start = trainings.site, trainings.start
    split, patches = load_split(home.splits, site), open_patch_set(home.patches(site))
    grid = list(subsets(split.train, trainings.sizes))
    weights = [] if start == SCRATCH else [home.unet(start) / name for name in UNET_FILES]
    scored = home.patients(settings, site, (*split.validation, *split.test))
    inputs = TrainingInputs(trainings.facts, patches.folder, split, scored, weights, trainings.joined)
    folder = resume_folder(home, trainings.title.replace(" ", "-"), inputs)
    test, validation = (home.scans(settings, site, names) for names in (split.test, split.validation))
    whole = RunSpec(trainings.experiment, trainings.title, trainings.stage, trainings.facts, data_source(patches.folder))
    with training_run(whole, resume=folder / RUN) as parent:
        for number, subset in enumerate(grid):
            label, kept = f"{trainings.title}: {subset.name}", folder / f"{subset.name}.csv"
            if kept.exists():
                say(f"{label} is there already")
                continue
            say(f"{label}, {number + 1} of {len(grid)}")
            few = patches.of_patients(subset.patients)
            chosen = few if trainings.joined is None else joined(open_patch_set(trainings.joined), few, folder)
            # one training: its run, its scores on test patients, its table among the resume files
            child = replace(
                whole,
                name=f"{trainings.title} {subset.name}",
                settings={**trainings.facts, "n_patients": subset.n_patients, "subset": subset.number},
                data=replace(data_source(patches.folder), rows=len(few)),
                parent=parent.id or None,
            )
            with training_run(child, lineage=False) as run:
                trained = train_segmenter(trainings.schedule, chosen, validator(validation), run, label, _start(home, start))
                rows = _score(trained, start, site, subset, test)
                run.final({**trained.scores, **_means(rows)})
                example = np.zeros((2, 1, chosen.size, chosen.size), np.float32)
                run.log_model(Served(trained.segmenter).eval(), example, name="unet")
            write_transfer(kept, rows)
        # collect the tables of all trainings, including those of earlier runs, and record the learning curve in the parent run
        rows = [row for subset in grid for row in read_transfer(folder / f"{subset.name}.csv")]
        for count in sorted({row.n_patients for row in rows}):
            parent.metrics(_means([row for row in rows if row.n_patients == count]), step=count)
    return rows, folder


def _start(home: Workspace, start: str) -> Unet | None:
    """Load the pre-trained network, once for each training; None for training from scratch."""
    return None if start == SCRATCH else load_segmenter(home.unet(start)).unet


def _score(trained: TrainedUnet, start: str, site: str, subset: Subset, test: list[Scan]) -> list[TransferScore]:
    rows = []
    for scan in test:
        scores = all_metrics(scan.truth, trained.segmenter.segment(scan.image, scan.brain), scan.spacing_mm)
        row = TransferScore(
            site=site,
            start=start,
            n_patients=subset.n_patients,
            subset=subset.number,
            trained_on=" ".join(subset.patients),
            patient=scan.patient,
            dsc=scores["dsc"],
            hd95_mm=scores["hd95_mm"],
            hd_mm=scores["hd_mm"],
            empty=int(scores["empty"]),
        )
        rows.append(row)
    return rows


def _means(rows: list[TransferScore]) -> dict[str, float]:
    return {"test_dsc": float(np.mean([row.dsc for row in rows])), "test_hd95_mm": float(np.mean([row.hd95_mm for row in rows]))}
