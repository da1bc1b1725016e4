"""Read and write a trained U-net: weights in unet.pt, metadata in unet.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from angiosynth.compute.precision import device, place
from angiosynth.errors import InputError
from angiosynth.runtime.checkpoint import read_weights, save_weights
from angiosynth.runtime.machine import memory_available
from angiosynth.runtime.output import write_json
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import LEVELS, Unet
from angiosynth.settings import UnetSettings

UNET_FILES = ("unet.pt", "unet.json")


def save_unet(folder: Path, trained: TrainedUnet, settings: UnetSettings, facts: dict[str, Any]) -> None:
    """Write weights and metadata into an existing folder. `facts`, further metadata, must not vary between equal runs."""
    segmenter = trained.segmenter
    weights = {name: value.detach().cpu().contiguous() for name, value in segmenter.unet.state_dict().items()}
    save_weights(folder / "unet.pt", weights)
    shape = {"width": settings.width, "dropout": settings.dropout, "precision": settings.precision}
    standard = {"mean": segmenter.mean, "deviation": segmenter.deviation}
    write_json(folder / "unet.json", {**facts, **shape, **standard, "seed": settings.seed, "step": trained.step, **trained.scores})


def load_segmenter(folder: Path) -> Segmenter:
    """Load the U-net of a folder to the available device.

    Raises:
        InputError: a file is missing or damaged, the files do not match, or a weight is not finite; the message names the file.
    """
    metadata = read_facts(folder)
    _refuse_width(folder, metadata.width)
    unet = Unet(metadata.width, metadata.dropout)
    unet.load_state_dict(read_weights(folder / "unet.pt", unet.state_dict()))
    place(unet, device())
    return Segmenter(unet.eval(), metadata.mean, metadata.deviation, metadata.precision, str(folder / "unet.pt"))


def count_weights(width: int) -> int:
    """Return the number of weights of a `Unet` of this width, without building it."""
    channels = [width << level for level in range(LEVELS)]
    down = zip([1, *channels[:-1]], channels, strict=True)
    up = ((channels[level] + channels[level - 1], channels[level - 1]) for level in range(1, LEVELS))
    return sum(9 * inputs * outputs + 9 * outputs * outputs + 2 * outputs for inputs, outputs in (*down, *up)) + width + 1


def _refuse_width(folder: Path, width: int) -> None:
    """Raise InputError if the width does not match the size of unet.pt or exceeds the memory. Called before the network is built."""
    path, needed = folder / "unet.pt", 4 * count_weights(width)
    existing, free = path.stat().st_size if path.is_file() else 0, memory_available()
    if existing < needed:
        raise InputError(f"{path}: missing or damaged, {existing} bytes instead of {needed} for width {width}; run `dvc repro` to train it")
    if free and free < 2 * needed:  # the network, and the weights read from the file
        raise InputError(f"{path}: takes {2 * needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; close other programs")
