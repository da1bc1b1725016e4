"""Command pretrain-from: a U-net trained on a package that another lab has released."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from angiosynth.data.cohort import load_split
from angiosynth.errors import InputError
from angiosynth.project.facts import unet_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace, write_curve
from angiosynth.release.package import open_package
from angiosynth.runtime.output import scratch_folder, whole_folder
from angiosynth.runtime.progress import say
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import save_unet
from angiosynth.segmentation.training import train_unet
from angiosynth.segmentation.unet import build_unet
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings
from angiosynth.stages.train_unet import unet_facts
from angiosynth.stages.transfer import transfer
from angiosynth.tracking.runs import DataSource, training_run

PACKAGE = "package"  # the name of a U-net that was trained on somebody else's set


def pretrain_from(settings: Settings, home: Workspace, package: Path, trusted: Path | None) -> str:
    """Train a U-net on somebody's package, chosen by the own site's validation patients, and go on from it to the own patients.

    The first target site's where there is one: then transfer from the package to all of them follows. Else the source's.

    Args:
        package: a folder that `release` made.
        trusted: the sender's public key.

    Returns:
        What was trained and how it did.

    Raises:
        InputError: the package is not as its checksums tell, its intensity rule is another, or there is no validation patient.
    """
    preflight(settings, home, ("unet", "transfer"))
    with scratch_folder(home.root / ".work" / "package") as scratch:
        patches, intensity, told = open_package(package, trusted, scratch / "set")
        say(f"{package}: {told}")
        if intensity != settings.cohort.intensity:
            raise InputError(f"{package}: was made with cohort.intensity {intensity.model_dump(mode='json')}; set that in params.yaml")
        cohort = settings.cohort
        site = cohort.targets[0] if cohort.targets else cohort.source  # whose validation patients choose
        scans = home.scans(settings, site, load_split(home.splits, site).validation)
        if not scans:
            raise InputError(
                f"splits/{site}.json: no validation patient, who would choose the weights; name one in params.yaml, section cohort"
            )
        own = settings.unet
        data = DataSource(f"package-{package.name}", str(patches.meta.get("set_digest", "")), package.name, len(patches))
        with training_run(
            "unet", f"unet {PACKAGE}", stage=f"pretrain-from@{package.name}", settings=unet_settings(settings, PACKAGE), data=data
        ) as run:
            trained = train_unet(
                build_unet(own.width, own.dropout, own.seed),
                patches,
                own,
                validator(scans),
                run,
                validations=own.validations,
                augmentation=own.augmentation,
                precision=own.precision,
                what=f"pretrain-from {package.name}",
            )
            run.final(trained.scores)
            run.log_model(Served(trained.segmenter).eval(), np.zeros((2, 1, patches.size, patches.size), np.float32), name="unet")
        with whole_folder(home.unet(PACKAGE)) as folder:
            save_unet(folder, trained, own, {**unet_facts(settings, PACKAGE, patches), "package": package.name})
            write_curve(folder / "curve.csv", trained.curve)
    line = f"{home.unet(PACKAGE)}: DSC {trained.scores['val_dsc']:.3f} on {len(scans)} validation patients of {site}"
    if site == cohort.source:
        return f"{line}; there is no other site, so nothing was transferred"
    transfer(settings, home, PACKAGE)
    return f"{line}; transferred: {home.metrics / 'transfer' / f'{PACKAGE}.csv'}"
