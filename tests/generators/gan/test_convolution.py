"""Convolutions: torch's as the oracle, spectral norms against singular values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from angiosynth.compute.draws import Draws
from angiosynth.generators.gan import convolution as module
from angiosynth.generators.gan.convolution import (
    Convolution,
    convolution,
    iterate_spectral_norms,
    sharing_weights,
    transposed_convolution,
)
from angiosynth.generators.gan.losses import gradient_penalty
from angiosynth.generators.gan.networks import Critic
from angiosynth.generators.gan.second_derivatives import Geometry, PenalisedLayer
from angiosynth.generators.gan.spectral import SpectralScale

MATRIX = {"LARGE_WEIGHT": 0, "SMALL_MAP": 10**9}


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["matrix", "torch"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every convolution as a matrix product, or none."""
    for name, value in (MATRIX if request.param == "matrix" else {"LARGE_WEIGHT": 10**9}).items():
        monkeypatch.setattr(module, name, value)
    return str(request.param)


def _derivatives_agree(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> bool:
    """Whether first and second derivatives are those of finite differences, along random directions instead of entry by entry."""
    torch.manual_seed(0)
    return torch.autograd.gradcheck(function, inputs, fast_mode=True) and torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


SHAPES = [((2, 3, 6, 6), 2, 2), ((3, 2, 5, 7), 2, 2), ((1, 2, 3, 3), 1, 1), ((2, 2, 4, 4), 1, 0), ((2, 1, 9, 8), 3, 1)]


@pytest.mark.parametrize(("shape", "stride", "padding"), SHAPES)
def test_a_convolution_and_its_two_derivatives(form: str, shape: tuple[int, ...], stride: int, padding: int) -> None:
    x = torch.randn(shape, generator=_seeded(1), dtype=torch.float64, requires_grad=True)
    kernel = 3 if min(shape[2:]) < 5 else 5
    weight = torch.randn(4, shape[1], kernel, kernel, generator=_seeded(2), dtype=torch.float64, requires_grad=True)
    result = convolution(x, weight, Geometry(stride, padding), PenalisedLayer())
    torch.testing.assert_close(result, F.conv2d(x, weight, stride=stride, padding=padding))
    assert _derivatives_agree(lambda a, b: convolution(a, b, Geometry(stride, padding), PenalisedLayer()), x, weight)


@pytest.mark.parametrize(
    ("shape", "stride", "padding", "more"),
    [((2, 3, 3, 3), 2, 2, 1), ((2, 3, 1, 1), 1, 1, 0), ((1, 2, 4, 3), 2, 2, 1), ((2, 2, 2, 2), 1, 0, 0)],
)
def test_a_transposed_convolution_and_its_two_derivatives(form: str, shape: tuple[int, ...], stride: int, padding: int, more: int) -> None:
    x = torch.randn(shape, generator=_seeded(1), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape[1], 4, 5, 5, generator=_seeded(2), dtype=torch.float64, requires_grad=True)
    result = transposed_convolution(x, weight, stride, padding, more)
    torch.testing.assert_close(result, F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=more))
    assert _derivatives_agree(lambda a, b: transposed_convolution(a, b, stride, padding, more), x, weight)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_form_depends_on_weights_and_maps_and_never_on_the_layout(monkeypatch: pytest.MonkeyPatch, layout: Any) -> None:
    taken: list[int] = []
    gather = module._Window.gather

    def watched(window: Any, x: torch.Tensor) -> torch.Tensor:
        taken.append(len(x))
        return gather(window, x)

    monkeypatch.setattr(module._Window, "gather", watched)
    large, small = torch.randn(512, 80, 5, 5).to(memory_format=layout), torch.randn(8, 80, 5, 5).to(memory_format=layout)
    few, many = torch.randn(4, 80, 6, 6).to(memory_format=layout), torch.randn(120, 80, 6, 6).to(memory_format=layout)
    for weight, x in ((large, few), (large, many), (small, few)):
        torch.testing.assert_close(
            convolution(x, weight, Geometry(2, 2), PenalisedLayer()), F.conv2d(x, weight, stride=2, padding=2), atol=1e-3, rtol=1e-4
        )
    assert taken == [4]


def test_the_resize_convolution_is_enlargement_and_convolution() -> None:
    layer = Convolution(4, 3, 5, "resize")
    x = torch.randn(2, 4, 6, 6, generator=_seeded(2))
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), layer.weight, padding=2)
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("how", "axis"), [("stride", 0), ("resize", 0), ("transposed", 1)])
def test_the_spectral_scale_converges_to_the_largest_singular_value(how: str, axis: int) -> None:
    torch.manual_seed(0)
    layer = Convolution(6, 5, 5, how).add_spectral_norm()  # type: ignore[arg-type]
    assert layer.scale is not None
    for _ in range(300):
        iterate_spectral_norms(layer)
    # output channels times all the rest, built by hand
    rows = [layer.weight.detach().select(axis, channel).flatten() for channel in range(5)]
    largest = torch.linalg.svdvals(torch.stack(rows))[0]
    assert layer.scale.sigma(layer.weight).item() == pytest.approx(largest.item(), rel=1e-4)


def test_the_spectral_scale_starts_near_and_never_above() -> None:
    torch.manual_seed(1)
    weight = torch.randn(8, 6, 3, 3)
    largest = torch.linalg.svdvals(weight.flatten(1))[0].item()
    scale = SpectralScale(weight, output_axis=0)
    assert 0.9 * largest < scale.sigma(weight).item() <= largest * (1 + 1e-6)


def test_the_output_is_divided_by_the_spectral_scale() -> None:
    torch.manual_seed(0)
    layer = Convolution(3, 4, 5, "stride")
    x = torch.randn(2, 3, 8, 8)
    plain = layer(x)
    layer.add_spectral_norm()
    assert layer.scale is not None
    sigma = layer.scale.sigma(layer.weight)
    torch.testing.assert_close(layer(x), plain / sigma)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / sigma, stride=2, padding=2))
    with torch.no_grad():
        layer.weight.mul_(10.0)
    torch.testing.assert_close(layer(x), plain / sigma)  # a scaled weight changes nothing


def test_the_spectral_scale_takes_part_in_the_gradient() -> None:
    torch.manual_seed(0)
    layer = Convolution(2, 3, 5, "valid").add_spectral_norm()
    layer(torch.randn(1, 2, 6, 6)).sum().backward()
    assert layer.weight.grad is not None
    # W / sigma(W) does not change along W itself
    along = (layer.weight.grad * layer.weight.detach()).sum().item()
    assert along == pytest.approx(0.0, abs=1e-5)
    assert layer.weight.grad.abs().max() > 1e-3


@pytest.mark.parametrize(("how", "axis"), [("stride", 0), ("transposed", 1)])
def test_the_gradient_through_the_spectral_scale_is_autograds(how: str, axis: int) -> None:
    torch.manual_seed(0)
    layer = Convolution(4, 3, 5, how).add_spectral_norm().double()  # type: ignore[arg-type]
    assert layer.scale is not None
    push = torch.randn_like(layer.weight)
    (ours,) = torch.autograd.grad((layer.scale(layer.weight, torch.float64) * push).sum(), layer.weight)
    matrix = layer.weight.movedim(axis, 0).movedim(1, -1).flatten(1)
    sigma = layer.scale.u @ matrix @ layer.scale.v
    (theirs,) = torch.autograd.grad((layer.weight / sigma * push).sum(), layer.weight)
    torch.testing.assert_close(ours, theirs)


def test_a_shared_weight_is_made_once_and_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    critic = Critic(16, 3, "spectral")
    real, fake = torch.randn(2, 4, 2, 16, 16).clamp(-1, 1).unbind()
    made: list[int] = []
    scale = SpectralScale.forward

    def watched(*arguments: Any) -> torch.Tensor:
        made.append(1)
        return scale(*arguments)

    monkeypatch.setattr(SpectralScale, "forward", watched)

    def gradients() -> list[torch.Tensor]:
        loss = critic(real).mean() - critic(fake).mean() + 10 * gradient_penalty(critic, real, fake, Draws(_seeded()), "sample")
        return list(torch.autograd.grad(loss, list(critic.parameters())))

    apart, layers = gradients(), len(critic.body) // 2
    assert len(made) == 3 * layers
    with sharing_weights(critic):
        together = gradients()
    assert len(made) == 4 * layers
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        for weight in critic.parameters():
            weight.add_(0.1)
    assert not torch.equal(critic(real), torch.zeros(4))
    assert len(made) == 5 * layers  # nothing is kept afterwards


def test_no_derivative_runs_through_where_the_leaky_pieces_are() -> None:
    torch.manual_seed(0)
    critic = Critic(16, 3, "spectral")
    plain = copy.deepcopy(critic)
    for position, block in enumerate(plain.body):
        if not isinstance(block, Convolution):
            plain.body[position] = torch.nn.LeakyReLU(0.2)
    real, fake = torch.rand(2, 4, 2, 16, 16).unbind()
    for network in (critic, plain):
        gradient_penalty(network, real, fake, Draws(_seeded()), "sample").backward()
    for one, other in zip(critic.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    # and the critic's own passes are the same
    torch.testing.assert_close(critic(real), plain(real))
