"""Command pretrain-from: a U-net trained on a package that another lab has released."""

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

PACKAGE = "package"  # the name of a U-net that was trained on somebody else's set


def pretrain_from(settings: Settings, home: Workspace, package: Path, trusted: Path | None) -> str:
    """Train a U-net on another lab's package; validation patients here choose its weights. Then fine-tune it to the target sites.

    Validation patients are those of the first target site, or of the source where there is no target; then nothing is fine-tuned.

    Args:
        package: a folder that `release` made.
        trusted: the sender's public key.

    Returns:
        One line: where the U-net is and its validation DSC.

    Raises:
        InputError: the package does not match its checksums, its intensity rule is another, there is no validation patient, or there is
            another site and stage select-unet has not run.
    """
    preflight(settings, home, ("unet", "transfer"))
    if settings.cohort.targets:
        chosen_settings(settings, home)  # what transfer asks for is missed before the training, not after it
    with scratch_folder(home.root / ".work" / "package") as scratch:
        patches, intensity, signature = open_package(package, trusted, scratch / "set")
        say(f"{package}: {signature}")
        if intensity != settings.cohort.intensity:
            raise InputError(f"{package}: was made with cohort.intensity {intensity.model_dump(mode='json')}; set that in params.yaml")
        cohort = settings.cohort
        site = cohort.targets[0] if cohort.targets else cohort.source  # whose validation patients choose
        scans = home.scans(settings, site, load_split(home.splits, site).validation)
        if not scans:
            raise InputError(
                f"splits/{site}.json: no validation patient, who would choose the weights; name one in params.yaml, section cohort"
            )
        data = DataSource(f"package-{package.name}", str(patches.meta.get("set_digest", "")), package.name, len(patches))
        facts = unet_settings(settings, PACKAGE)
        with training_run(RunSpec("unet", f"unet {PACKAGE}", stage=f"pretrain-from@{package.name}", settings=facts, data=data)) as run:
            trained = train_segmenter(settings.unet, patches, validator(scans), run, f"pretrain-from {package.name}")
            run.final(trained.scores)
            run.log_model(Served(trained.segmenter).eval(), np.zeros((2, 1, patches.size, patches.size), np.float32), name="unet")
        write_unet(home.unet(PACKAGE), trained, settings, {**unet_facts(settings, PACKAGE, patches), "package": package.name})
    line = f"{home.unet(PACKAGE)}: DSC {trained.scores['val_dsc']:.3f} on {len(scans)} validation patients of {site}"
    if site == cohort.source:
        return f"{line}; there is no other site, so nothing was transferred"
    transfer(settings, home, PACKAGE)
    return f"{line}; transferred: {home.metrics / 'transfer' / f'{PACKAGE}.csv'}"
