"""A trained generator's folder: generator.pt, what the audit reads beside it, and the generators of other steps that the probe saw."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from angiosynth.generators.base import GeneratorSettings, PairCritic, Sampler, TrainedGenerator
from angiosynth.generators.registry import family_of
from angiosynth.runtime.checkpoint import Checkpoints, read_weights, save_weights

GENERATOR = "generator"


def checkpoint_file(folder: Path, step: int) -> Path:
    """Where a folder holds the generator of a step that the probe saw and did not choose."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def save_generator(folder: Path, trained: TrainedGenerator, checkpoints: Checkpoints) -> None:
    """Write all weights into the folder, which exists."""
    for name, weights in {GENERATOR: trained.weights, **trained.audited}.items():
        save_weights(folder / f"{name}.pt", {key: value.contiguous() for key, value in weights.items()})
    for step, kept in checkpoints.kept().items():
        if step != trained.step:
            checkpoint_file(folder, step).parent.mkdir(exist_ok=True)
            shutil.copyfile(kept, checkpoint_file(folder, step))


def load_sampler(
    folder: Path, settings: GeneratorSettings, patch_size: int, device: torch.device | None = None, step: int | None = None
) -> Sampler:
    """The generator that was chosen, or that of another step that the probe saw, ready to draw; on the processor unless told.

    Raises:
        InputError: it is missing, damaged, or of other settings.
    """
    path = folder / f"{GENERATOR}.pt" if step is None else checkpoint_file(folder, step)
    family = family_of(settings)
    weights = read_weights(path, family.blank(settings, patch_size)[GENERATOR])
    return family.sampler(settings, patch_size, weights, device or torch.device("cpu"))


def load_critic(folder: Path, settings: GeneratorSettings, patch_size: int) -> PairCritic | None:
    """What of the training scores pairs, or None where the kind has no such thing.

    Raises:
        InputError: its weights are missing, damaged, or of other settings.
    """
    family = family_of(settings)
    wanted = {name: weights for name, weights in family.blank(settings, patch_size).items() if name != GENERATOR}
    return family.critic(settings, patch_size, {name: read_weights(folder / f"{name}.pt", own) for name, own in wanted.items()})
