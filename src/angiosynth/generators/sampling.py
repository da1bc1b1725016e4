"""Sampler shared by the families whose network maps random numbers to pairs of image and label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from angiosynth.arrays import ImagePatches, LabelPatches, to_levels
from angiosynth.compute.precision import autocast
from angiosynth.errors import InputError
from angiosynth.generators.base import CHUNK


class NoiseSampler:
    """Draws pairs from a network's current weights: a `Sampler`.

    Args:
        network: maps standard normal numbers (n, *shape) to pairs (n, 2, x, y), images in [-1, 1].
        shape: shape of the random numbers of one pair.
        threshold: default threshold that binarises the network's label channel.
        precision: as in `autocast`.
        device: device of the network.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], threshold: float, precision: str, device: torch.device) -> None:
        self.network, self.shape, self.threshold = network, shape, threshold
        self.precision, self.device = precision, device

    def example(self) -> NDArray[np.float32]:
        """Return a network input for two pairs."""
        return np.zeros((2, *self.shape), np.float32)

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """Draw `count` pairs, (n, x, y) each, determined by seed and weights."""
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    @torch.no_grad()
    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """Yield the same pairs in chunks of `CHUNK`. Raises InputError if the network's output is not finite."""
        random = torch.Generator().manual_seed(seed)
        cut = self.threshold if threshold is None else threshold
        was_training = self.network.training
        self.network.eval()
        for start in range(0, count, CHUNK):
            noise = torch.randn(min(CHUNK, count - start), *self.shape, generator=random).to(self.device)
            with autocast(self.precision, self.device):
                output = self.network(noise).float().cpu().numpy()
            if not np.isfinite(output).all():
                raise InputError("the generator's pairs are not finite: it diverged, or its weights are damaged; train it again")
            yield to_levels(output[:, 0]), (output[:, 1] > cut).astype(np.uint8)
        self.network.train(was_training)
