"""Stage transfer: site B with few patients, from scratch or from a U-net trained at site A."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from angiosynth.data.cohort import load_split
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.evaluation.metrics import all_metrics
from angiosynth.evaluation.patients import SCRATCH, TransferScore, read_transfer, write_transfer
from angiosynth.evaluation.transfer import Subset, subsets
from angiosynth.evaluation.validation import validator
from angiosynth.experiments.tracking import training_run
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import say
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter
from angiosynth.segmentation.training import TrainedUnet, train_unet
from angiosynth.segmentation.unet import Unet, build_unet
from angiosynth.settings import Settings
from angiosynth.stages.preflight import preflight
from angiosynth.stages.resuming import resume_folder
from angiosynth.stages.workspace import RUN, Workspace, chosen_settings, data_source


def transfer(settings: Settings, home: Workspace, start: str) -> None:
    """Fine-tune from one start with every subset of the grid, score site B's test patients; what an earlier run finished is kept."""
    split = load_split(home.splits, "site-b")
    target = home.metrics / "transfer" / f"{start}.csv"
    grid = list(subsets(split.train, settings.transfer))
    if not grid:
        say("transfer: there is no second site, the table stays empty")
        write_transfer(target, [])
        return
    preflight(settings, home, ("transfer",))
    settings = chosen_settings(settings, home)
    patches = open_patch_set(home.patches("site-b"))
    test = home.scans(settings, "site-b", split.test)
    validation = home.scans(settings, "site-b", split.validation)
    facts = transfer_settings(settings, start)
    weights = [] if start == SCRATCH else [home.unet(start) / name for name in UNET_FILES]
    scored = home.patients(settings, "site-b", (*split.validation, *split.test))
    folder = resume_folder(home, f"transfer-{start}", facts, patches.folder, split, scored, weights)
    source = data_source(patches.folder)
    whole = training_run("transfer", f"transfer {start}", stage=f"transfer@{start}", settings=facts, data=source, resume=folder / RUN)
    with whole as parent:
        for number, subset in enumerate(grid):
            kept = folder / f"{subset.name}.csv"
            if kept.exists():
                say(f"transfer {start}: {subset.name} is there already")
                continue
            say(f"transfer {start}: {number + 1} of {len(grid)}, {subset.name}")
            own = patches.of_patients(subset.patients)
            part = replace(source, rows=len(own))
            with training_run(
                "transfer",
                f"{start} {subset.name}",
                stage=f"transfer@{start}",
                settings={**facts, "n_patients": subset.n_patients, "subset": subset.number},
                data=part,
                parent=parent.id or None,
                lineage=False,
            ) as run:
                trained = _fine_tune(settings, home, start, subset, own, validation, run)
                rows = _score(trained, start, subset, test)
                run.final({**trained.scores, **_means(rows)})
                example = np.zeros((2, 1, own.size, own.size), np.float32)
                run.log_model(Served(trained.segmenter).eval(), example, name="unet")
            write_transfer(kept, rows)
        rows = [row for subset in grid for row in read_transfer(folder / f"{subset.name}.csv")]
        for count in sorted({row.n_patients for row in rows}):
            parent.metrics(_means([row for row in rows if row.n_patients == count]), step=count)
    write_transfer(target, rows)
    Checkpoints(folder).clear()


def transfer_settings(settings: Settings, start: str) -> dict[str, Any]:
    """The settings that transfer@<start> depends on, with what select-unet has chosen in them."""
    network = {"width": settings.unet.width, "dropout": settings.unet.dropout, "precision": settings.unet.precision}
    return {"start": start, "transfer": settings.transfer, "unet": network, "intensity": settings.cohort.intensity}


def _fine_tune(
    settings: Settings, home: Workspace, start: str, subset: Subset, own: PatchSet, validation: list[Scan], run: Any
) -> TrainedUnet:
    return train_unet(
        _start(settings, home, start),
        own,
        settings.transfer,
        validator(validation) if validation else None,
        run,
        validations=settings.transfer.validations,
        augmentation=settings.transfer.augmentation,
        precision=settings.unet.precision,
        what=f"transfer {start} {subset.name}",
    )


def _start(settings: Settings, home: Workspace, start: str) -> Unet:
    if start == SCRATCH:
        return build_unet(settings.unet.width, settings.unet.dropout, settings.transfer.seed)
    return load_segmenter(home.unet(start)).unet


def _score(trained: TrainedUnet, start: str, subset: Subset, test: list[Scan]) -> list[TransferScore]:
    rows = []
    for scan in test:
        scores = all_metrics(scan.truth, trained.segmenter.segment(scan.image, scan.brain), scan.spacing_mm)
        row = TransferScore(
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
