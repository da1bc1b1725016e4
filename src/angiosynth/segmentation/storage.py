"""A trained U-net on disk: unet.pt with the weights, unet.json with what they need to be used."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from angiosynth.compute.precision import device, place
from angiosynth.errors import InputError
from angiosynth.runtime.checkpoint import save_weights
from angiosynth.runtime.output import read_json, write_json
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
        InputError: a file is missing or damaged, or the two do not belong together.
    """
    facts = read_json(folder / "unet.json")
    try:
        unet = Unet(int(facts["width"]), float(facts["dropout"]))
        unet.load_state_dict(torch.load(folder / "unet.pt", weights_only=True))
        place(unet, device())
        return Segmenter(unet.eval(), float(facts["mean"]), float(facts["deviation"]), str(facts["precision"]))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(f"{folder}: unet.pt and unet.json are damaged or do not belong together; run `dvc repro` to train it") from error
