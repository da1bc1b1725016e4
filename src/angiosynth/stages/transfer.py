"""Stage transfer: other sites with few patients each, from scratch or from a U-net trained at the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from angiosynth.compute.threads import use_threads
from angiosynth.data.intensity import Scan
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
from angiosynth.settings import Settings
from angiosynth.tracking.runs import RunSpec, training_run


def transfer(settings: Settings, home: Workspace, start: str) -> None:
    """Fine-tune from one start at every target site with every subset of the grid; trainings that an earlier run has finished are kept."""
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
        done, folder = _at_site(settings, home, start, site)
        rows += done
        folders.append(folder)
    write_transfer(target, rows)
    for folder in folders:  # last: until all is written, a kill costs nothing
        Checkpoints(folder).clear()


def _at_site(settings: Settings, home: Workspace, start: str, site: str) -> tuple[list[TransferScore], Path]:
    """One site's rows, and the folder with its resume files."""
    split = load_split(home.splits, site)
    grid = list(subsets(split.train, settings.transfer))
    patches, schedule = open_patch_set(home.patches(site)), with_values_of(settings.transfer, settings.unet)
    weights = [] if start == SCRATCH else [home.unet(start) / name for name in UNET_FILES]
    scored = home.patients(settings, site, (*split.validation, *split.test))
    facts = transfer_settings(settings, start, site)
    folder = resume_folder(home, f"transfer-{start}-{site}", TrainingInputs(facts, patches.folder, split, scored, weights))
    test, validation = (home.scans(settings, site, names) for names in (split.test, split.validation))
    source, stage = data_source(patches.folder), f"transfer@{start}"
    whole = training_run(RunSpec("transfer", f"transfer {start} {site}", stage=stage, settings=facts, data=source), resume=folder / RUN)
    with whole as parent:
        for number, subset in enumerate(grid):
            label, kept = f"transfer {start} {site}: {subset.name}", folder / f"{subset.name}.csv"
            if kept.exists():
                say(f"{label} is there already")
                continue
            say(f"{label}, {number + 1} of {len(grid)}")
            chosen = patches.of_patients(subset.patients)
            # one training: its run, its scores on test patients, its table among the resume files
            child = training_run(
                RunSpec(
                    "transfer",
                    f"{start} {site} {subset.name}",
                    stage=stage,
                    settings={**facts, "n_patients": subset.n_patients, "subset": subset.number},
                    data=replace(source, rows=len(chosen)),
                    parent=parent.id or None,
                ),
                lineage=False,
            )
            with child as run:
                title = f"transfer {start} {subset.name}"
                trained = train_segmenter(schedule, chosen, validator(validation), run, title, _start(home, start))
                rows = _score(trained, start, site, subset, test)
                run.final({**trained.scores, **_means(rows)})
                example = np.zeros((2, 1, chosen.size, chosen.size), np.float32)
                run.log_model(Served(trained.segmenter).eval(), example, name="unet")
            write_transfer(kept, rows)
        # the tables of all trainings, of this run and of earlier ones; the learning curve goes to the parent's run
        rows = [row for subset in grid for row in read_transfer(folder / f"{subset.name}.csv")]
        for count in sorted({row.n_patients for row in rows}):
            parent.metrics(_means([row for row in rows if row.n_patients == count]), step=count)
    return rows, folder


def _start(home: Workspace, start: str) -> Unet | None:
    """The pre-trained network, loaded anew for each training; None for a fresh one."""
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
