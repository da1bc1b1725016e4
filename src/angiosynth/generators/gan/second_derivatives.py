"""Convolution with a fast second derivative, for gradient penalties.

A gradient penalty takes the gradient of a score by the pixels and differentiates it once more, by the weights. torch computes this second
derivative as a convolution whose kernel is a whole map, with copies of all maps. In the first layer of a wide critic this takes a GPU ten
times as long as all other layers together. The same derivative can be computed as an ordinary weight gradient:

    y = w * x                    convolution
    g_x = w^T * g_y              gradient by the input, linear in w and in g_y
    <h, g_x> = <w * h, g_y>      for any h, because w^T is the transpose of w

Let h be the incoming gradient of g_x in the second backward pass. By the last line its derivative by w is the weight gradient of a
convolution of the input h with output gradient g_y, and its derivative by g_y is the convolution w * h.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.generators.gan.subpixel import input_gradient

FEW_INPUTS = 16  # up to so many channels `input_gradient` was measured to be faster than torch's gradient on CPUs


@dataclass(frozen=True)
class Geometry:
    """Stride and zero padding, equal on both axes, and the number of channel groups."""

    stride: int
    padding: int
    groups: int = 1


class PenalisedLayer(nn.Module):
    """Base of layers that compute `convolve`.

    Attributes:
        inputs_only: whether backward passes skip the gradient of the weight; set by `input_gradients_only`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs_only = False


def computed_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype in which a layer with this weight computes: that of autocast if it is enabled, else the weight's."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


@contextmanager
def input_gradients_only(network: nn.Module) -> Iterator[None]:
    """Skip the weight gradients of the network's layers in backward passes within this context.

    `torch.autograd.grad` by the pixels would compute and discard them: an autograd `Function` knows which inputs require gradients, but not
    which gradients the caller asked for.
    """
    layers = [module for module in network.modules() if isinstance(module, PenalisedLayer)]
    for layer in layers:
        layer.inputs_only = True
    try:
        yield
    finally:
        for layer in layers:
            layer.inputs_only = False


def has_fast_input_gradient(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Return whether `subpixel.input_gradient` applies to a layer and is faster than torch's gradient."""
    fits = geometry == Geometry(2, 2) and weight.shape[2:] == (5, 5) and all(side % 2 == 0 for side in x.shape[2:])
    return fits and x.device.type == "cpu" and weight.shape[1] <= FEW_INPUTS


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, layer: PenalisedLayer) -> Tensor:
    """Convolve as `torch.nn.functional.conv2d`, differentiable twice. All tensors have the same dtype; `layer` owns the weight."""
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
        # First backward pass: g_x by a differentiable function. Weight and bias gradients come from torch, as trainings do not
        # differentiate them again.
        x, weight = context.saved_tensors
        by_x, by_weight, by_bias, *_ = context.needs_input_grad
        of_x = _InputGradient.apply(gradient, weight, x, context.geometry) if by_x else None  # type: ignore[no-untyped-call]
        if context.layer.inputs_only or not by_weight:
            return of_x, None, None, None, None
        _, of_weight, of_bias = _gradients(gradient, x, weight, context.geometry, (False, True, by_bias))
        return of_x, of_weight, of_bias if by_bias else None, None, None


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution by its input (g_x above), differentiable by the incoming gradient and the weight."""

    @staticmethod
    def forward(context: Any, gradient: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        # x gives only its shape here: g_x is linear in g_y and w, and does not depend on x.
        context.save_for_backward(gradient, weight)
        context.geometry = geometry
        if has_fast_input_gradient(x, weight, geometry):
            return input_gradient(gradient, weight)
        return _gradients(gradient, x, weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(context: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = context.saved_tensors
        geometry: Geometry = context.geometry
        # Second backward pass. `outer` is h in the module's docstring, `gradient` is g_y: by g_y the derivative is w * h, by w it is the
        # weight gradient of a convolution with input h and output gradient g_y.
        by_gradient, by_weight, *_ = context.needs_input_grad
        of_gradient = F.conv2d(outer, weight, None, geometry.stride, geometry.padding, groups=geometry.groups) if by_gradient else None
        of_weight = _gradients(gradient, outer, weight, geometry, (False, True, False))[1] if by_weight else None
        return of_gradient, of_weight, None, None


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, ...]) -> tuple[Tensor, ...]:
    """Gradients of a convolution by x, weight and bias; those that are not wanted are None."""
    stride, padding = [geometry.stride] * 2, [geometry.padding] * 2
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], stride, padding, [1, 1], False, [0, 0], geometry.groups, list(wanted)
    )
    return gradients
