"""From a GAN to pairs, and to the vectors behind them; what all samplers share is in ../test_sampling.py."""

from __future__ import annotations

import numpy as np
import torch

from angiosynth.generators.gan.models import build_gan, encode_pairs
from angiosynth.generators.gan.sampling import GanLatents, GanSampler, default_threshold
from tests.factories import tiny_generator, tiny_patches

CPU = torch.device("cpu")
SETTINGS = tiny_generator("wgan-gp")


def _sampler() -> GanSampler:
    return GanSampler(build_gan(SETTINGS, 16).generator, SETTINGS, CPU)


def test_pairs_are_levels_and_labels() -> None:
    image, label = _sampler().pairs(9, seed=1, threshold=None)
    assert image.shape == label.shape == (9, 16, 16)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1}
    assert len(np.unique(image)) > 5


def test_the_default_threshold_follows_the_label_range() -> None:
    assert default_threshold(SETTINGS) == 0.0
    assert default_threshold(tiny_generator("wgan-gp", label_range="binary")) == 0.8


def test_what_the_latent_space_draws_is_what_the_generator_draws_without_noise() -> None:
    generator = build_gan(SETTINGS, 16).generator.eval()
    space = GanLatents(generator, SETTINGS, CPU)
    assert space.size == SETTINGS.latent_size < generator.latent_size
    vectors = torch.randn(3, space.size, generator=torch.Generator().manual_seed(1))
    noiseless = torch.cat([vectors, torch.zeros(3, generator.latent_size - space.size)], dim=1)
    assert torch.equal(space.draw(vectors), generator(noiseless))
    image, label = (torch.from_numpy(part) for part in tiny_patches(3).pairs(range(3)))
    assert torch.equal(space.encode(image, label), encode_pairs(SETTINGS, image, label))
