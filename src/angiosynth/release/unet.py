"""The U-net trained on a released set inside its package: safetensors, and the metadata to use it.

Its weights are computed from the set, so they reveal no more about patients than the set does, except that the training step was selected
on validation patients. Information that could reveal more is kept back: the scores on patients, the seed.
"""

from __future__ import annotations

from pathlib import Path

import torch

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.release.weights import read_weights, write_weights
from angiosynth.runtime.output import write_json
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import THRESHOLD, Segmenter
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.segmentation.unet import Unet

FOLDER, WEIGHTS, FACTS = "unet", "unet.safetensors", "unet.json"
SHIPPED = ("width", "dropout", "mean", "deviation", "precision", "intensity")


def refuse_other_unet(source: Path, synthetic: PatchSet, set_digest: str) -> None:
    """Check that a U-net was trained on the current set.

    Args:
        source: models/unet/<model>.
        synthetic: the set.
        set_digest: digest of its images and labels.

    Raises:
        InputError: the U-net is missing or damaged, or was trained on other images or labels.
    """
    metadata = read_facts(source)
    same = metadata.patches_digest == set_digest and (metadata.mean, metadata.deviation) == synthetic.mean_deviation()
    if not same or metadata.intensity is None:
        raise InputError(f"{source}: was trained on another set than the present one; run `dvc repro` to train it")


def write_unet(source: Path, package: Path) -> None:
    """Write unet/unet.safetensors and unet/unet.json into a package.

    Args:
        source: models/unet/<model>.
        package: folder of the package.
    """
    segmenter, metadata = load_segmenter(source), read_facts(source).model_dump(mode="json")
    folder = package / FOLDER
    folder.mkdir()
    write_weights(segmenter.unet.state_dict(), folder / WEIGHTS)
    write_json(folder / FACTS, {**{name: metadata[name] for name in SHIPPED}, "threshold": THRESHOLD})


def read_unet(package: Path) -> Segmenter | None:
    """Read the U-net of a package to the CPU; None if it has none.

    Raises:
        InputError: a file is damaged, or its size or shapes do not match unet.json.
    """
    folder = package / FOLDER
    if not folder.is_dir():
        return None
    metadata = read_facts(folder)
    path = folder / WEIGHTS
    with torch.device("meta"):  # allocates no memory, whatever the stated width, until the file has been checked
        wanted = Unet(metadata.width, metadata.dropout).state_dict()
    weights = read_weights(path, wanted)
    unet = Unet(metadata.width, metadata.dropout)
    unet.load_state_dict(weights)
    return Segmenter(unet.eval(), metadata.mean, metadata.deviation, metadata.precision, str(path))
