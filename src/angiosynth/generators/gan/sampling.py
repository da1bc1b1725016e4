"""Sampler and latent space of a trained GAN."""

from __future__ import annotations

import torch
from torch import Tensor

from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import AnyGenerator, encode_pairs
from angiosynth.generators.sampling import NoiseSampler

PUBLISHED_THRESHOLD = 0.8  # the paper's threshold for labels trained as 0 and 1


class GanSampler(NoiseSampler):
    """Draws pairs from a GAN's generator."""

    network: AnyGenerator

    def __init__(self, network: AnyGenerator, settings: GanSettings, device: torch.device) -> None:
        super().__init__(network, (network.latent_size,), default_threshold(settings), settings.precision, device)
        self.settings = settings


class GanLatents:
    """The latent vectors of a generator as a `LatentSpace`.

    Noise maps are fixed at their mean, zero. They have more values than a patch has pixels; if they were optimised too, any patch could be
    reproduced, whether trained on or not.
    """

    def __init__(self, generator: AnyGenerator, settings: GanSettings, device: torch.device) -> None:
        self.generator, self.settings = generator.to(device).eval().requires_grad_(False), settings
        self.size = generator.sizes[0]

    def draw(self, vectors: Tensor) -> Tensor:
        """Generate pairs (n, 2, x, y) from vectors (n, size)."""
        noise = vectors.new_zeros(len(vectors), self.generator.latent_size - self.size)
        pairs: Tensor = self.generator(torch.cat([vectors, noise], dim=1))
        return pairs

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        return encode_pairs(self.settings, image, label)


def default_threshold(settings: GanSettings) -> float:
    """Return the default threshold of the label channel: half way between -1 and 1, or the paper's 0.8 for labels 0 and 1."""
    return 0.0 if settings.label_range == "signed" else PUBLISHED_THRESHOLD
