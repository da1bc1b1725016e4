"""A trained generator's folder: generator.pt, the weights that only the audit reads, and the probed generators of other steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings, PairCritic, Sampler, TrainedGenerator
from angiosynth.generators.registry import family_of
from angiosynth.reading import file_digest
from angiosynth.runtime.checkpoint import Checkpoints, read_weights, save_weights

GENERATOR = "generator"


def checkpoint_file(folder: Path, step: int) -> Path:
    """The file of a probed generator that was not chosen, by its step."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def save_generator(folder: Path, trained: TrainedGenerator, checkpoints: Checkpoints) -> None:
    """Write all weights into the folder, which exists."""
    for name, weights in {GENERATOR: trained.weights, **trained.audited}.items():
        save_weights(folder / f"{name}.pt", {key: value.contiguous() for key, value in weights.items()})
    for step, kept in checkpoints.kept().items():
        if step != trained.step:
            checkpoint_file(folder, step).parent.mkdir(exist_ok=True)
            shutil.copyfile(kept, checkpoint_file(folder, step))


def generator_digest(folder: Path) -> str:
    """Sixteen hex digits over the chosen generator's weights.

    Raises:
        InputError: there are none.
    """
    path = folder / f"{GENERATOR}.pt"
    try:
        return str(file_digest(path).hexdigest())[:16]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to train it") from error


def load_sampler(
    folder: Path, settings: GeneratorSettings, patch_size: int, device: torch.device | None = None, step: int | None = None
) -> Sampler:
    """The chosen generator, or the probed one of another step, ready to draw; on the CPU unless a device is given.

    Raises:
        InputError: it is missing, damaged, or of other settings.
    """
    path = folder / f"{GENERATOR}.pt" if step is None else checkpoint_file(folder, step)
    family = family_of(settings)
    weights = read_weights(path, family.blank(settings, patch_size)[GENERATOR])
    return family.sampler(settings, patch_size, weights, device or torch.device("cpu"))


def load_critic(folder: Path, settings: GeneratorSettings, patch_size: int) -> PairCritic | None:
    """The network of the training that scores pairs, or None where the kind has none.

    Raises:
        InputError: its weights are missing, damaged, or of other settings.
    """
    family = family_of(settings)
    blank = {name: weights for name, weights in family.blank(settings, patch_size).items() if name != GENERATOR}
    return family.critic(settings, patch_size, {name: read_weights(folder / f"{name}.pt", like) for name, like in blank.items()})
