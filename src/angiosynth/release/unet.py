"""The U-net that was trained on a released set, as a part of its package: safetensors and the facts to use it.

Its weights are computed from the set, so they tell nothing of the patients that the set does not; but validation patients chose at which
step the training ended. What could tell more stays in the house: the scores on patients, the seed.
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


def refuse_other_unet(source: Path, synthetic: PatchSet) -> None:
    """Refuse a U-net that was not trained on the set as it is now.

    Args:
        source: models/unet/<model>.
        synthetic: the set.

    Raises:
        InputError: the U-net is missing or damaged, or mean and deviation, by which it standardises images, are not the set's.
    """
    facts = read_facts(source)
    if (facts.mean, facts.deviation) != synthetic.mean_deviation() or facts.intensity is None:
        raise InputError(f"{source}: was trained on another set than the present one; run `dvc repro` to train it")


def write_unet(source: Path, package: Path) -> None:
    """Write unet/unet.safetensors and unet/unet.json into a package.

    Args:
        source: models/unet/<model>.
        package: its folder.
    """
    segmenter, facts = load_segmenter(source), read_facts(source).model_dump(mode="json")
    folder = package / FOLDER
    folder.mkdir()
    write_weights(segmenter.unet.state_dict(), folder / WEIGHTS)
    write_json(folder / FACTS, {**{name: facts[name] for name in SHIPPED}, "threshold": THRESHOLD})


def read_unet(package: Path) -> Segmenter | None:
    """The U-net of a package, on the CPU; None where it has none.

    Raises:
        InputError: a file is damaged, or of another size or shape than the facts say.
    """
    folder = package / FOLDER
    if not folder.is_dir():
        return None
    facts = read_facts(folder)
    path = folder / WEIGHTS
    with torch.device("meta"):  # whatever the width, no memory is taken before the file is known to have such weights
        wanted = Unet(facts.width, facts.dropout).state_dict()
    weights = read_weights(path, wanted)
    unet = Unet(facts.width, facts.dropout)
    unet.load_state_dict(weights)
    return Segmenter(unet.eval(), facts.mean, facts.deviation, facts.precision, str(path))
