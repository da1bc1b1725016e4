"""A trained U-net on disk: unet.pt with the weights, unet.json with what they need to be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from angiosynth.runtime.checkpoint import read_weights, save_weights
from angiosynth.runtime.output import write_json
from angiosynth.runtime.precision import device, place
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import Unet
from angiosynth.settings import UnetSettings

UNET_FILES = ("unet.pt", "unet.json")


def save_unet(folder: Path, trained: TrainedUnet, settings: UnetSettings, facts: dict[str, Any]) -> None:
    """Write weights and metadata into an existing folder; `facts` holds nothing volatile."""
    segmenter = trained.segmenter
    weights = {name: value.detach().cpu().contiguous() for name, value in segmenter.unet.state_dict().items()}
    save_weights(folder / "unet.pt", weights)
    shape = {"width": settings.width, "dropout": settings.dropout, "precision": settings.precision}
    standard = {"mean": segmenter.mean, "deviation": segmenter.deviation}
    write_json(folder / "unet.json", {**facts, **shape, **standard, "seed": settings.seed, "step": trained.step, **trained.scores})


def load_segmenter(folder: Path) -> Segmenter:
    """The U-net of a folder, ready to segment on the device that there is.

    Raises:
        InputError: a file is missing or damaged, the two do not belong together, or a weight is not finite; the text names the file.
    """
    facts = read_facts(folder)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):  # how large it would be, before any memory is taken
        wanted = Unet(facts.width, facts.dropout).state_dict()
    weights = read_weights(folder / "unet.pt", wanted)
    unet = Unet(facts.width, facts.dropout)
    unet.load_state_dict(weights)
    place(unet, device())
    return Segmenter(unet.eval(), facts.mean, facts.deviation, facts.precision, str(folder / "unet.pt"))
