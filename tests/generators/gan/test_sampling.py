"""From a GAN to pairs, and to the vectors behind them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from angiosynth.generators import sampling
from angiosynth.generators.gan.models import build_gan, encode_pairs
from angiosynth.generators.gan.sampling import GanLatents, GanSampler, default_threshold
from tests.factories import tiny_generator, tiny_patches

CPU = torch.device("cpu")
SETTINGS = tiny_generator("wgan-gp")


class Constant(nn.Module):
    """Stands for a generator: image and label of every pixel from the first latent values."""

    latent_size = 2

    def __init__(self, label: float) -> None:
        super().__init__()
        self.label = label

    def forward(self, latent: Tensor) -> Tensor:
        image = torch.full((len(latent), 1, 4, 4), -1.0)
        image[:, :, :2] = 1.0
        return torch.cat([image, torch.full_like(image, self.label)], dim=1)


def _sampler() -> GanSampler:
    return GanSampler(build_gan(SETTINGS, 16).generator, SETTINGS, CPU)


def test_pairs_are_levels_and_labels() -> None:
    image, label = _sampler().pairs(9, seed=1, threshold=None)
    assert image.shape == label.shape == (9, 16, 16)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1}
    assert len(np.unique(image)) > 5


def test_the_scale_of_images() -> None:
    image, _ = GanSampler(Constant(0.5), SETTINGS, CPU).pairs(3, seed=1, threshold=None)  # type: ignore[arg-type]
    assert (image[:, :2] == 255).all()
    assert (image[:, 2:] == 0).all()


@pytest.mark.parametrize(
    ("value", "threshold", "expected"), [(0.1, None, 1), (-0.1, None, 0), (0.1, 0.2, 0), (-0.1, -0.2, 1), (0.0, None, 0)]
)
def test_labels_are_cut_at_the_threshold(value: float, threshold: float | None, expected: int) -> None:
    _, label = GanSampler(Constant(value), SETTINGS, CPU).pairs(3, seed=1, threshold=threshold)  # type: ignore[arg-type]
    assert set(np.unique(label)) == {expected}


def test_the_default_threshold_follows_the_label_range() -> None:
    assert default_threshold(SETTINGS) == 0.0
    assert default_threshold(tiny_generator("wgan-gp", label_range="binary")) == 0.8


def test_the_seed_alone_decides_what_is_drawn() -> None:
    sampler = _sampler()
    first = sampler.pairs(6, seed=1, threshold=None)
    torch.randn(5)
    np.testing.assert_array_equal(first[0], sampler.pairs(6, seed=1, threshold=None)[0])
    assert (first[0] != sampler.pairs(6, seed=2, threshold=None)[0]).any()


def test_a_last_chunk_is_as_short_as_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = _sampler()
    monkeypatch.setattr(sampling, "CHUNK", 4)
    assert [len(image) for image, _ in sampler.chunks(10, 1, None)] == [4, 4, 2]
    np.testing.assert_array_equal(sampler.pairs(10, 1, None)[0][:8], sampler.pairs(8, 1, None)[0])


def test_drawing_leaves_the_generator_as_it_was() -> None:
    sampler = _sampler()
    sampler.network.train()
    before = {name: value.clone() for name, value in sampler.network.state_dict().items()}
    sampler.pairs(3, 1, None)
    assert sampler.network.training
    assert all(torch.equal(value, before[name]) for name, value in sampler.network.state_dict().items())


def test_what_the_latent_space_draws_is_what_the_generator_draws_without_noise() -> None:
    generator = build_gan(SETTINGS, 16).generator.eval()
    space = GanLatents(generator, SETTINGS, CPU)
    assert space.size == SETTINGS.latent_size < generator.latent_size
    vectors = torch.randn(3, space.size, generator=torch.Generator().manual_seed(1))
    noiseless = torch.cat([vectors, torch.zeros(3, generator.latent_size - space.size)], dim=1)
    assert torch.equal(space.draw(vectors), generator(noiseless))
    image, label = (torch.from_numpy(part) for part in tiny_patches(3).pairs(range(3)))
    assert torch.equal(space.encode(image, label), encode_pairs(SETTINGS, image, label))
