"""From a trained generator to pairs of image and label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from angiosynth.arrays import ImagePatches, LabelPatches, to_levels
from angiosynth.data.patches import PatchSet, create_patch_arrays
from angiosynth.errors import InputError
from angiosynth.gan.models import build_generator
from angiosynth.gan.networks import Generator
from angiosynth.runtime.checkpoint import read_weights
from angiosynth.runtime.precision import autocast
from angiosynth.runtime.progress import progress
from angiosynth.settings import GanSettings, SynthesisSettings

CHUNK = 256
PUBLISHED_THRESHOLD = 0.8  # where the paper cuts a label that was trained as 0 and 1


class Sampler:
    """Draws pairs from a generator as it stands: image as levels 0..255, label as 0 or 1."""

    def __init__(self, generator: Generator, settings: GanSettings, where: torch.device) -> None:
        self.generator, self.settings, self.device = generator, settings, where

    def pairs(self, count: int, seed: int, threshold: float | None) -> tuple[ImagePatches, LabelPatches]:
        """`count` pairs, (n, x, y) each, the same ones for the same seed and weights."""
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    @torch.no_grad()
    def chunks(self, count: int, seed: int, threshold: float | None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """The same pairs a few hundred at a time."""
        random = torch.Generator().manual_seed(seed)
        cut = default_threshold(self.settings) if threshold is None else threshold
        was_training = self.generator.training
        self.generator.eval()
        for start in range(0, count, CHUNK):
            latent = torch.randn(min(CHUNK, count - start), self.generator.latent_size, generator=random).to(self.device)
            with autocast(self.settings.common.precision, self.device):
                output = self.generator(latent).float().cpu().numpy()
            if not np.isfinite(output).all():
                raise InputError("the generator's pairs are not finite: it diverged, or its weights are damaged; train it again")
            yield to_levels(output[:, 0]), (output[:, 1] > cut).astype(np.uint8)
        self.generator.train(was_training)


def default_threshold(settings: GanSettings) -> float:
    """Half way between the two labels, or the paper's 0.8 where labels are 0 and 1."""
    return 0.0 if settings.common.label_range == "signed" else PUBLISHED_THRESHOLD


def checkpoint_file(folder: Path, step: int) -> Path:
    """Where a GAN's folder holds the generator of a step that the probe saw and did not choose."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def load_generator(folder: Path, model: str, settings: GanSettings, patch_size: int, step: int | None = None) -> Generator:
    """The generator that `train-gan` chose, or that of another step that the probe saw, ready to draw from.

    Raises:
        InputError: it is missing, damaged, or of other settings.
    """
    generator = build_generator(model, settings, patch_size)
    path = folder / "generator.pt" if step is None else checkpoint_file(folder, step)
    generator.load_state_dict(read_weights(path, generator.state_dict()))
    return generator.eval()


def synthesize(sampler: Sampler, settings: SynthesisSettings, real: PatchSet, facts: dict[str, Any], target: Path) -> dict[str, Any]:
    """Write a synthetic patch set: image.npy and label.npy; gives its card.

    Args:
        sampler: of the chosen generator.
        settings: section `synthesis`.
        real: the training patients' patches, for the vessel fraction to compare with.
        facts: what else belongs on the card (model, digest of settings); nothing volatile.
        target: an existing folder.
    """
    image, label = create_patch_arrays(target, settings.pairs, real.size)
    chunks = sampler.chunks(settings.pairs, settings.seed, settings.label_threshold)
    done = 0
    for images, labels in progress(chunks, "synthesize", total=-(-settings.pairs // CHUNK)):
        image[done : done + len(images)], label[done : done + len(images)] = images, labels
        done += len(images)
    vessel_fraction = float(label.mean())
    del image, label  # closed before the folder is moved
    return {
        **facts,
        "n": settings.pairs,
        "size": real.size,
        "seed": settings.seed,
        "label_threshold": settings.label_threshold,
        "intensity": real.meta["intensity"],
        "vessel_fraction": round(vessel_fraction, 6),
        "vessel_fraction_real": round(real.vessel_fraction(), 6),
    }
