"""Convolutions of stride 1 with bias and groups, whose second derivative is fast on CPUs.

A gradient penalty differentiates the gradient of a score by the pixels, once more by the weights. torch computes that second derivative as
a convolution whose kernel is a whole map, with copies of all maps. It is also the gradient of a weight in an ordinary backward pass:

    y = w * x                    convolution
    g_x = w^T * g_y              gradient by the input: linear in the weight and in g_y
    <h, g_x> = <w * h, g_y>      for any h, so its gradient by w is that of a convolution of h whose output has the gradient g_y
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupedConvolution(nn.Module):
    """A convolution that keeps the sides. Maps (n, inputs, h, w) to (n, outputs, h, w).

    Args:
        inputs, outputs: channels.
        kernel: side of the kernel, odd.
        groups: the channels are split into as many groups, which do not mix.
        gain: weights are drawn from N(0, gain^2 / k), k inputs of an output value; biases begin at zero.
        bias: whether a bias is learnt.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float, groups: int = 1, *, bias: bool = True) -> None:
        super().__init__()
        self.groups, self.inputs_only = groups, False
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.normal_(self.weight, 0.0, gain / math.sqrt(self.weight[0].numel()))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        device = self.weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        y: Tensor = _Convolve.apply(x.to(dtype), self.weight.to(dtype), bias, self)  # type: ignore[no-untyped-call]
        return y


@contextmanager
def input_gradients_only(network: nn.Module) -> Iterator[None]:
    """Within this context backward passes leave out the gradients of these convolutions' weights.

    `torch.autograd.grad` by pixels alone would compute and discard them, since a `Function` does not learn what it is asked for.
    """
    convolutions = [module for module in network.modules() if isinstance(module, GroupedConvolution)]
    for module in convolutions:
        module.inputs_only = True
    try:
        yield
    finally:
        for module in convolutions:
            module.inputs_only = False


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, module: GroupedConvolution) -> Tensor:
        context.save_for_backward(x, weight)
        context.module = module
        return F.conv2d(x, weight, bias, padding=module.padding, groups=module.groups)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        module: GroupedConvolution = context.module
        by_x, by_weight, by_bias, _ = context.needs_input_grad
        of_x = _InputGradient.apply(gradient, weight, x, module) if by_x else None  # type: ignore[no-untyped-call]
        if module.inputs_only or not by_weight:
            return of_x, None, None, None
        _, of_weight, of_bias = _gradients(gradient, x, weight, module, (False, True, by_bias))
        return of_x, of_weight, of_bias if by_bias else None, None


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution by its input, itself differentiable by the incoming gradient and the weight."""

    @staticmethod
    def forward(context: Any, gradient: Tensor, weight: Tensor, x: Tensor, module: GroupedConvolution) -> Tensor:
        context.save_for_backward(gradient, weight)
        context.module = module
        return _gradients(gradient, x, weight, module, (True, False, False))[0]

    @staticmethod
    def backward(context: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = context.saved_tensors
        module: GroupedConvolution = context.module
        by_gradient, by_weight, _, _ = context.needs_input_grad
        of_gradient = F.conv2d(outer, weight, padding=module.padding, groups=module.groups) if by_gradient else None
        of_weight = _gradients(gradient, outer, weight, module, (False, True, False))[1] if by_weight else None
        return of_gradient, of_weight, None, None


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, module: GroupedConvolution, wanted: tuple[bool, ...]) -> tuple[Tensor, ...]:
    """Gradients of a convolution by x, weight and bias, as far as wanted."""
    padding, channels = [module.padding] * 2, [len(weight)]
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, channels, [1, 1], padding, [1, 1], False, [0, 0], module.groups, list(wanted)
    )
    return gradients
