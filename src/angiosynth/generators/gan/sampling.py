"""Draw pairs of image and label from a trained GAN, and map its latent vectors to pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.arrays import ImagePatches, LabelPatches, to_levels
from angiosynth.compute.precision import autocast
from angiosynth.errors import InputError
from angiosynth.generators.base import CHUNK
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import AnyGenerator, encode_pairs

PUBLISHED_THRESHOLD = 0.8  # of the paper, for labels trained as 0 and 1


class GanSampler:
    """Draws pairs from a generator's current weights: a `Sampler`."""

    def __init__(self, network: AnyGenerator, settings: GanSettings, device: torch.device) -> None:
        self.network, self.settings, self.device = network, settings, device

    def example(self) -> NDArray[np.float32]:
        """A latent input of two pairs."""
        return np.zeros((2, self.network.latent_size), np.float32)

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """`count` pairs, (n, x, y) each, the same ones for the same seed and weights."""
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    @torch.no_grad()
    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """The same pairs a few hundred at a time."""
        random = torch.Generator().manual_seed(seed)
        cut = default_threshold(self.settings) if threshold is None else threshold
        was_training = self.network.training
        self.network.eval()
        for start in range(0, count, CHUNK):
            latent = torch.randn(min(CHUNK, count - start), self.network.latent_size, generator=random).to(self.device)
            with autocast(self.settings.precision, self.device):
                output = self.network(latent).float().cpu().numpy()
            if not np.isfinite(output).all():
                raise InputError("the generator's pairs are not finite: it diverged, or its weights are damaged; train it again")
            yield to_levels(output[:, 0]), (output[:, 1] > cut).astype(np.uint8)
        self.network.train(was_training)


class GanLatents:
    """The latent vectors of a generator: a `LatentSpace`.

    Noise maps stay at their mean, zero: they have more values than a patch has pixels, and optimised they could reproduce any patch,
    trained on or not.
    """

    def __init__(self, generator: AnyGenerator, settings: GanSettings, device: torch.device) -> None:
        self.generator, self.settings = generator.to(device).eval().requires_grad_(False), settings
        self.size = generator.sizes[0]

    def draw(self, vectors: Tensor) -> Tensor:
        """Pairs (n, 2, x, y) of vectors (n, size)."""
        noise = vectors.new_zeros(len(vectors), self.generator.latent_size - self.size)
        pairs: Tensor = self.generator(torch.cat([vectors, noise], dim=1))
        return pairs

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        return encode_pairs(self.settings, image, label)


def default_threshold(settings: GanSettings) -> float:
    """Half way between the two labels, or the paper's 0.8 where labels are 0 and 1."""
    return 0.0 if settings.label_range == "signed" else PUBLISHED_THRESHOLD
