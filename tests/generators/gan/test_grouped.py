"""Convolutions with groups and bias: torch's values, and its first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.generators.gan.grouped import GroupedConvolution, input_gradients_only

CASES = [(4, 6, 1, 1, True), (4, 6, 3, 2, True), (4, 4, 3, 4, False), (2, 3, 3, 1, True)]


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _layer(inputs: int, outputs: int, kernel: int, groups: int, bias: bool) -> GroupedConvolution:
    layer = GroupedConvolution(inputs, outputs, kernel, 1.0, groups, bias=bias).double()
    with torch.no_grad():
        for number, weight in enumerate(layer.parameters()):
            weight.normal_(generator=_random(number))
    return layer


def _plain(layer: GroupedConvolution) -> Callable[[Tensor], Tensor]:
    return lambda x: F.conv2d(x, layer.weight, layer.bias, padding=layer.padding, groups=layer.groups)


def _penalised(critic: Callable[[Tensor], Tensor], x: Tensor, weights: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """Gradients of a loss that holds a squared gradient by x; the square makes the second derivative depend on x too."""
    y = critic(x).square().mean(dim=(2, 3)).sum()
    gradient = torch.autograd.grad(y, x, create_graph=True)[0]
    return torch.autograd.grad(y + gradient.square().sum(), [x, *weights])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_derivatives_are_torchs(case: tuple[int, int, int, int, bool]) -> None:
    layer = _layer(*case)
    x = torch.randn(3, case[0], 5, 4, generator=_random(9), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), _plain(layer)(x))
    weights = list(layer.parameters())
    for one, other in zip(_penalised(layer, x, weights), _penalised(_plain(layer), x, weights), strict=True):
        torch.testing.assert_close(one, other)


def test_second_derivatives_agree_with_differences() -> None:
    layer = _layer(2, 2, 3, 2, True)
    x = torch.randn(1, 2, 3, 3, generator=_random(9), dtype=torch.float64, requires_grad=True)

    def changed(x: Tensor, weight: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
        return y

    assert torch.autograd.gradgradcheck(changed, (x, layer.weight))


def test_weights_get_no_gradient_where_those_of_inputs_are_asked_for_alone() -> None:
    layer = _layer(*CASES[1])
    x = torch.randn(3, 4, 5, 4, generator=_random(9), dtype=torch.float64, requires_grad=True)
    y = layer(x).square().sum()
    (expected,) = torch.autograd.grad(y, x, retain_graph=True)
    with input_gradients_only(nn.Sequential(layer)):
        y.backward(retain_graph=True)
    assert layer.weight.grad is None
    assert x.grad is not None
    assert torch.equal(x.grad, expected)
    y.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().min() > 0


def test_the_penalty_leaves_no_layer_without_gradients_after_a_fault() -> None:
    layer = _layer(*CASES[0])
    with pytest.raises(ValueError, match="fault"), input_gradients_only(layer):
        raise ValueError("fault")
    assert not layer.inputs_only


def test_first_weights_keep_the_variance() -> None:
    torch.manual_seed(3)
    layer = GroupedConvolution(64, 64, 3, 1.5, 4)
    assert layer.weight.std().item() == pytest.approx(1.5 / (16 * 9) ** 0.5, rel=0.03)
    assert layer.bias is not None
    assert not layer.bias.any()
    assert not GroupedConvolution(8, 8, 1, 0.0).weight.any()


def test_bfloat16_is_computed_and_weights_get_gradients_in_their_own_precision() -> None:
    layer = _layer(*CASES[1]).float()
    x = torch.randn(3, 4, 5, 4, generator=_random(9), requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        gradient = torch.autograd.grad(y.float().square().sum(), x, create_graph=True)[0]
    assert y.dtype == torch.bfloat16
    gradient.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    exact = _penalty_gradient(_plain(layer), x, layer.weight)
    assert (layer.weight.grad - exact).norm() < 0.03 * exact.norm()


def _penalty_gradient(critic: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    gradient = torch.autograd.grad(critic(x).square().sum(), x, create_graph=True)[0]
    return torch.autograd.grad(gradient.square().sum(), weight)[0]
