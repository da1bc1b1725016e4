"""Convolutions of stride 1 with bias and groups."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from angiosynth.generators.gan.second_derivatives import Geometry, PenalisedLayer, computed_dtype, convolve


class GroupedConvolution(PenalisedLayer):
    """Convolution that keeps the sides, (n, inputs, h, w) to (n, outputs, h, w).

    Args:
        inputs, outputs: numbers of channels.
        kernel: side of the kernel, odd.
        gain: weights are drawn from N(0, gain^2 / k), where k is the number of inputs of an output value. Biases start at zero.
        groups: number of channel groups, which do not mix.
        bias: whether to learn a bias.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float, groups: int = 1, *, bias: bool = True) -> None:
        super().__init__()
        self.geometry = Geometry(1, kernel // 2, groups)
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.normal_(self.weight, 0.0, gain / math.sqrt(self.weight[0].numel()))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        dtype = computed_dtype(self.weight)
        bias = None if self.bias is None else self.bias.to(dtype)
        return convolve(x.to(dtype), self.weight.to(dtype), bias, self.geometry, self)
