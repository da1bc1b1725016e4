"""Command pretrain-from: train a U-net on a package that another lab has released."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.project.facts import unet_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace, chosen_settings
from angiosynth.release.package import open_package
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings
from angiosynth.stages.train_unet import unet_facts, write_unet
from angiosynth.stages.transfer import transfer
from angiosynth.tracking.runs import DataSource, RunSpec, training_run

PACKAGE = "package"  # the name of the U-net trained on another lab's set


def pretrain_from(settings: Settings, home: Workspace, package: Path, trusted: Path | None) -> str:
    """Train a U-net on another lab's package, then fine-tune it to the target sites.

    This project's validation patients select the weights: those of the first target site or, without a target site, of the source. Without
    a target site the U-net is not fine-tuned.

    Args:
        settings: all settings.
        home: the project's folder.
        package: a folder written by `release`.
        trusted: the sender's public key; if given, unsigned packages are refused.

    Returns:
        One line with the U-net's folder and validation DSC.

    Raises:
        InputError: the package does not match its checksums, its intensity rule differs from the settings', no validation patient exists,
            or target sites exist and stage select-unet has not run.
    """
    preflight(settings, home, ("unet", "transfer"))
    if settings.cohort.targets:
        chosen_settings(settings, home)  # raises here if stage transfer could not run after the training
    with scratch_folder(home.root / ".work" / "package") as scratch:
        patches, intensity, signature = open_package(package, trusted, scratch / "set")
        say(f"{package}: {signature}")
        if intensity != settings.cohort.intensity:
            raise InputError(f"{package}: was made with cohort.intensity {intensity.model_dump(mode='json')}; set that in params.yaml")
        cohort = settings.cohort
        site = cohort.targets[0] if cohort.targets else cohort.source  # its validation patients select the weights
        scans = home.scans(settings, site, load_split(home.splits, site).validation)
        if not scans:
            raise InputError(
                f"splits/{site}.json: no validation patient, who would choose the weights; name one in params.yaml, section cohort"
            )
        data = DataSource(f"package-{package.name}", str(patches.meta.get("set_digest", "")), package.name, len(patches))
        used = unet_settings(settings, PACKAGE)
        with training_run(RunSpec("unet", f"unet {PACKAGE}", stage=f"pretrain-from@{package.name}", settings=used, data=data)) as run:
            trained = train_segmenter(settings.unet, patches, validator(scans), run, f"pretrain-from {package.name}")
            run.final(trained.scores)
            run.log_model(Served(trained.segmenter).eval(), np.zeros((2, 1, patches.size, patches.size), np.float32), name="unet")
        write_unet(home.unet(PACKAGE), trained, settings, {**unet_facts(settings, PACKAGE, patches), "package": package.name})
    line = f"{home.unet(PACKAGE)}: DSC {trained.scores['val_dsc']:.3f} on {len(scans)} validation patients of {site}"
    if site == cohort.source:
        return f"{line}; there is no other site, so nothing was transferred"
    transfer(settings, home, PACKAGE)
    return f"{line}; transferred: {home.metrics / 'transfer' / f'{PACKAGE}.csv'}"
