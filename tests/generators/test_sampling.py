"""From random numbers to pairs, whatever the network is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from angiosynth.errors import InputError
from angiosynth.generators import sampling
from angiosynth.generators.sampling import NoiseSampler

CPU = torch.device("cpu")


class Constant(nn.Module):
    """Stands for a generator: the upper half of each image white, the lower one black, one value for all of the label."""

    def __init__(self, label: float) -> None:
        super().__init__()
        self.label = label

    def forward(self, noise: Tensor) -> Tensor:
        image = torch.full((len(noise), 1, 4, 4), -1.0)
        image[:, :, :2] = 1.0
        return torch.cat([image, torch.full_like(image, self.label)], dim=1)


class Noisy(nn.Module):
    """Noise itself as pairs, and dropout in training."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, noise: Tensor) -> Tensor:
        pairs: Tensor = self.dropout(noise)
        return pairs


def _constant(label: float = 0.5) -> NoiseSampler:
    return NoiseSampler(Constant(label), (3,), 0.0, "float32", CPU)


def _noisy() -> NoiseSampler:
    return NoiseSampler(Noisy(), (2, 4, 4), 0.0, "float32", CPU)


def test_the_scale_of_images() -> None:
    image, _ = _constant().pairs(3, seed=1)
    assert (image[:, :2] == 255).all()
    assert (image[:, 2:] == 0).all()


@pytest.mark.parametrize(
    ("value", "threshold", "expected"), [(0.1, None, 1), (-0.1, None, 0), (0.1, 0.2, 0), (-0.1, -0.2, 1), (0.0, None, 0)]
)
def test_labels_are_cut_at_the_threshold(value: float, threshold: float | None, expected: int) -> None:
    _, label = _constant(value).pairs(3, seed=1, threshold=threshold)
    assert set(np.unique(label)) == {expected}


def test_the_seed_alone_decides_what_is_drawn() -> None:
    first = _noisy().pairs(6, seed=1)
    torch.randn(5)
    np.testing.assert_array_equal(first[0], _noisy().pairs(6, seed=1)[0])
    assert (first[0] != _noisy().pairs(6, seed=2)[0]).any()


@pytest.mark.parametrize(("chunk", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (16, [10])])
def test_pairs_are_the_same_in_chunks_of_any_size(chunk: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _noisy().pairs(10, seed=1)
    monkeypatch.setattr(sampling, "CHUNK", chunk)
    assert [len(image) for image, _ in _noisy().chunks(10, 1)] == sizes
    for part, expected in zip(_noisy().pairs(10, seed=1), whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_fewer_pairs_are_the_first_ones() -> None:
    np.testing.assert_array_equal(_noisy().pairs(10, 1)[0][:8], _noisy().pairs(8, 1)[0])


def test_a_network_in_training_goes_on_training() -> None:
    sampler = _noisy()
    sampler.network.train()
    drawn = sampler.pairs(9, 1)[0]
    assert sampler.network.training
    np.testing.assert_array_equal(drawn, _noisy().pairs(9, 1)[0])


def test_pairs_that_are_not_finite_are_one_line() -> None:
    with pytest.raises(InputError, match="not finite: it diverged, or its weights are damaged"):
        _constant(math.nan).pairs(3, seed=1)


def test_an_example_is_an_input_of_two_pairs() -> None:
    assert _noisy().example().shape == (2, 2, 4, 4)
    assert _constant().example().dtype == np.float32
