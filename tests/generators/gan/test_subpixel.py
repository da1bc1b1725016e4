"""Enlargement by two in phases: torch's functions as the oracle."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from angiosynth.generators.gan.second_derivatives import FEW_INPUTS, Geometry, PenalisedLayer, convolve, has_fast_input_gradient
from angiosynth.generators.gan.subpixel import fold_enlargement, input_gradient, interleave


def _random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_interleaving_is_a_pixel_shuffle_of_other_channels() -> None:
    phases = _random(2, 12, 3, 5)
    order = phases.view(2, 4, 3, 3, 5).transpose(1, 2).reshape(2, 12, 3, 5)  # the channel before the phase
    assert torch.equal(interleave(phases), F.pixel_shuffle(order, 2))
    assert interleave(phases).is_contiguous(memory_format=torch.channels_last)


def test_the_folded_kernel_is_enlargement_and_convolution() -> None:
    weight, x = _random(3, 4, 5, 5), _random(2, 4, 7, 6, seed=2)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=2)
    folded = interleave(F.conv2d(x, fold_enlargement(weight), padding=1))
    torch.testing.assert_close(folded, plain, atol=1e-12, rtol=0)


def test_the_folded_kernels_gradient_is_that_of_the_plain_one() -> None:
    weight = _random(2, 3, 5, 5).requires_grad_()
    x, push = _random(1, 3, 4, 4, seed=2), _random(1, 2, 8, 8, seed=3)
    (folded,) = torch.autograd.grad((interleave(F.conv2d(x, fold_enlargement(weight), padding=1)) * push).sum(), weight)
    (plain,) = torch.autograd.grad((F.conv2d(F.interpolate(x, scale_factor=2.0), weight, padding=2) * push).sum(), weight)
    torch.testing.assert_close(folded, plain)


@pytest.mark.parametrize(("inputs", "outputs", "sides"), [(2, 16, (8, 8)), (3, 1, (4, 6)), (1, 2, (2, 2))])
def test_the_input_gradient_is_torchs(inputs: int, outputs: int, sides: tuple[int, int]) -> None:
    x, weight = _random(2, inputs, *sides).requires_grad_(), _random(outputs, inputs, 5, 5, seed=2)
    y = F.conv2d(x, weight, stride=2, padding=2)
    gradient = _random(*y.shape, seed=3)
    torch.testing.assert_close(input_gradient(gradient, weight), torch.autograd.grad(y, x, gradient)[0])


def test_a_strided_layer_of_few_channels_has_torchs_two_derivatives() -> None:
    geometry = Geometry(2, 2)
    x, weight = _random(2, 2, 6, 8).requires_grad_(), _random(3, 2, 5, 5, seed=2).requires_grad_()
    assert has_fast_input_gradient(x, weight, geometry)

    def gradients(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        slope = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)[0]
        return torch.autograd.grad(y.square().sum() + slope.square().sum(), (x, weight))

    ours = gradients(convolve(x, weight, None, geometry, PenalisedLayer()))
    torchs = gradients(F.conv2d(x, weight, stride=2, padding=2))
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other)


def test_other_layers_keep_torchs_input_gradient() -> None:
    x, weight = _random(1, 2, 6, 6), _random(3, 2, 5, 5)
    assert not has_fast_input_gradient(_random(1, 2, 6, 7), weight, Geometry(2, 2))
    assert not has_fast_input_gradient(x, weight, Geometry(1, 2))
    assert not has_fast_input_gradient(x, _random(3, 2, 3, 3), Geometry(2, 2))
    assert not has_fast_input_gradient(x, _random(3, FEW_INPUTS + 1, 5, 5), Geometry(2, 2))
    assert not has_fast_input_gradient(x.to("meta"), weight, Geometry(2, 2))
