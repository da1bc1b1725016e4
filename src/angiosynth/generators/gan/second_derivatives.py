"""A convolution whose second derivative is fast.

A gradient penalty differentiates the gradient of a score by the pixels, once more by the weights. torch computes that second derivative as
a convolution whose kernel is a whole map, with copies of all maps: in the first layer of a wide critic it takes a GPU ten times as long as
all other layers together. It is also the gradient of a weight in an ordinary backward pass:

    y = w * x                    convolution
    g_x = w^T * g_y              gradient by the input: linear in the weight and in g_y
    <h, g_x> = <w * h, g_y>      for any h, so its gradient by w is that of a convolution of h whose output has the gradient g_y
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """Stride and zeros on each side, the same on both axes, and groups of channels that do not mix."""

    stride: int
    padding: int
    groups: int = 1


class PenalisedLayer(nn.Module):
    """A layer that convolves by `convolve`."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs_only = False


def computed_dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which a layer with this weight computes: autocast's where it is on."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


@contextmanager
def input_gradients_only(network: nn.Module) -> Iterator[None]:
    """Within this context backward passes leave out the gradients of these layers' weights.

    `torch.autograd.grad` by pixels alone would compute and discard them, since a `Function` does not learn what it is asked for.
    """
    layers = [module for module in network.modules() if isinstance(module, PenalisedLayer)]
    for layer in layers:
        layer.inputs_only = True
    try:
        yield
    finally:
        for layer in layers:
            layer.inputs_only = False


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, layer: PenalisedLayer) -> Tensor:
    """As `torch.nn.functional.conv2d`, differentiable twice; all tensors in one dtype. `layer` is the one that has the weight."""
    y: Tensor = _Convolve.apply(x, weight, bias, geometry, layer)  # type: ignore[no-untyped-call]
    return y


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, layer: PenalisedLayer) -> Tensor:
        context.save_for_backward(x, weight)
        context.geometry, context.layer = geometry, layer
        return F.conv2d(x, weight, bias, geometry.stride, geometry.padding, groups=geometry.groups)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        by_x, by_weight, by_bias, *_ = context.needs_input_grad
        of_x = _InputGradient.apply(gradient, weight, x, context.geometry) if by_x else None  # type: ignore[no-untyped-call]
        if context.layer.inputs_only or not by_weight:
            return of_x, None, None, None, None
        _, of_weight, of_bias = _gradients(gradient, x, weight, context.geometry, (False, True, by_bias))
        return of_x, of_weight, of_bias if by_bias else None, None, None


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution by its input, itself differentiable by the incoming gradient and the weight."""

    @staticmethod
    def forward(context: Any, gradient: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        context.save_for_backward(gradient, weight)
        context.geometry = geometry
        return _gradients(gradient, x, weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(context: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = context.saved_tensors
        geometry: Geometry = context.geometry
        by_gradient, by_weight, *_ = context.needs_input_grad
        of_gradient = F.conv2d(outer, weight, None, geometry.stride, geometry.padding, groups=geometry.groups) if by_gradient else None
        of_weight = _gradients(gradient, outer, weight, geometry, (False, True, False))[1] if by_weight else None
        return of_gradient, of_weight, None, None


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, ...]) -> tuple[Tensor, ...]:
    """Gradients of a convolution by x, weight and bias, as far as wanted."""
    stride, padding = [geometry.stride] * 2, [geometry.padding] * 2
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], stride, padding, [1, 1], False, [0, 0], geometry.groups, list(wanted)
    )
    return gradients
