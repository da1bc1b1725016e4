"""Draw pairs of image and label from a trained GAN, and map its latent vectors to pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import AnyGenerator, encode_pairs
from angiosynth.generators.sampling import NoiseSampler

PUBLISHED_THRESHOLD = 0.8  # of the paper, for labels trained as 0 and 1


class GanSampler(NoiseSampler):
    """Draws pairs from a GAN's generator."""

    network: AnyGenerator

    def __init__(self, network: AnyGenerator, settings: GanSettings, device: torch.device) -> None:
        super().__init__(network, (network.latent_size,), default_threshold(settings), settings.precision, device)
        self.settings = settings


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
