"""The convolution that is differentiated twice: torch's as the oracle, and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from angiosynth.generators.gan.second_derivatives import Geometry, PenalisedLayer, convolve

GEOMETRIES = [Geometry(1, 0), Geometry(1, 1), Geometry(2, 2), Geometry(1, 1, 2)]


def _tensors(geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    kernel = 5 if geometry.padding == 2 else 3
    shapes = ((2, 4, 6, 5), (2, 4 // geometry.groups, kernel, kernel), (2,))
    x, weight, bias = (torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_penalty_has_the_gradients_of_torchs_convolution(geometry: Geometry) -> None:
    x, weight, bias = _tensors(geometry)

    def gradients(y: Tensor) -> tuple[Tensor, ...]:
        score = y.square().sum()
        slope = torch.autograd.grad(score, x, create_graph=True)[0]
        return torch.autograd.grad(score + slope.square().sum(), (x, weight, bias))

    ours = gradients(convolve(x, weight, bias, geometry, PenalisedLayer()))
    torchs = gradients(F.conv2d(x, weight, bias, geometry.stride, geometry.padding, groups=geometry.groups))
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_second_derivatives_agree_with_differences(geometry: Geometry) -> None:
    x, weight, _ = _tensors(geometry)
    assert torch.autograd.gradgradcheck(lambda a, b: convolve(a, b, None, geometry, PenalisedLayer()), (x[:1], weight))
