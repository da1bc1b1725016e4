"""Read and write the folder of a trained generator: generator.pt, weights that only the audit reads, probed generators of other steps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from angiosynth.errors import InputError
from angiosynth.generators.base import PROMISE, GeneratorSettings, PairCritic, Sampler, TrainedGenerator
from angiosynth.generators.registry import family_of
from angiosynth.reading import file_digest
from angiosynth.runtime.checkpoint import Checkpoints, read_weights, save_weights
from angiosynth.runtime.output import write_json

GENERATOR = "generator"


def checkpoint_file(folder: Path, step: int) -> Path:
    """Return the path of a probed generator that was not selected."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def save_generator(folder: Path, trained: TrainedGenerator, checkpoints: Checkpoints, description: Mapping[str, Any]) -> None:
    """Write all weights and generator.json into an existing folder.

    generator.json has the description, the selected step, its scores, the promise if there is one, and every probe.
    """
    for name, weights in {GENERATOR: trained.weights, **trained.audited}.items():
        save_weights(folder / f"{name}.pt", {key: value.contiguous() for key, value in weights.items()})
    for step, kept in checkpoints.kept().items():
        if step != trained.step:
            checkpoint_file(folder, step).parent.mkdir(exist_ok=True)
            shutil.copyfile(kept, checkpoint_file(folder, step))
    promise = {PROMISE: trained.promise} if trained.promise else {}
    probes = [row for row in trained.curve if "probe_dsc" in row]
    write_json(folder / f"{GENERATOR}.json", {**description, "step": trained.step, **trained.scores, **promise, "probes": probes})


def generator_digest(folder: Path) -> str:
    """Return the digest of the selected generator's weights, sixteen hex digits.

    Raises:
        InputError: the file cannot be read.
    """
    path = folder / f"{GENERATOR}.pt"
    try:
        return str(file_digest(path).hexdigest())[:16]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to train it") from error


def load_sampler(
    folder: Path, settings: GeneratorSettings, patch_size: int, device: torch.device | None = None, step: int | None = None
) -> Sampler:
    """Load the selected generator, or the probed one of another step, on the CPU unless a device is given.

    Raises:
        InputError: the file is missing, damaged, or does not match the settings.
    """
    path = folder / f"{GENERATOR}.pt" if step is None else checkpoint_file(folder, step)
    family = family_of(settings)
    weights = read_weights(path, family.blank(settings, patch_size)[GENERATOR])
    return family.sampler(settings, patch_size, weights, device or torch.device("cpu"))


def load_critic(folder: Path, settings: GeneratorSettings, patch_size: int) -> PairCritic | None:
    """Load the network that scores pairs, or give None if the kind has none.

    Raises:
        InputError: its weights are missing, damaged, or do not match the settings.
    """
    family = family_of(settings)
    blank = {name: weights for name, weights in family.blank(settings, patch_size).items() if name != GENERATOR}
    return family.critic(settings, patch_size, {name: read_weights(folder / f"{name}.pt", like) for name, like in blank.items()})
