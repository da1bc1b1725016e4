"""A trained generator's folder: generator.pt, what the audit reads beside it, and the generators of other steps that the probe saw."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings, PairCritic, Sampler, TrainedGenerator
from angiosynth.generators.registry import family_of
from angiosynth.runtime.checkpoint import Checkpoints, save_weights

UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError)


def checkpoint_file(folder: Path, step: int) -> Path:
    """Where a folder holds the generator of a step that the probe saw and did not choose."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def save_generator(folder: Path, trained: TrainedGenerator, checkpoints: Checkpoints) -> None:
    """Write all weights into the folder, which exists."""
    for name, weights in {"generator": trained.weights, **trained.audited}.items():
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
    path = folder / "generator.pt" if step is None else checkpoint_file(folder, step)
    try:
        return family_of(settings).sampler(settings, patch_size, _weights(path), device or torch.device("cpu"))
    except UNREADABLE as error:
        raise _refused(path) from error


def load_critic(folder: Path, settings: GeneratorSettings, patch_size: int) -> PairCritic | None:
    """What of the training scores pairs, or None where the kind has no such thing.

    Raises:
        InputError: its weights are missing, damaged, or of other settings.
    """
    paths = [path for path in sorted(folder.glob("*.pt")) if path.stem != "generator"]
    try:
        return family_of(settings).critic(settings, patch_size, {path.stem: _weights(path) for path in paths})
    except UNREADABLE as error:
        raise _refused(folder / "critic.pt") from error


def _weights(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Any] = torch.load(path, weights_only=True)
    return weights


def _refused(path: Path) -> InputError:
    return InputError(f"{path}: missing, damaged or of other settings; run `dvc repro` to train it")
