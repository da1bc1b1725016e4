"""Enlargement by two as a 3x3 convolution with four outputs per channel, one for each phase.

An output pixel of an enlarged map has one of four phases, its position in a block of 2x2 pixels. All outputs of one phase are a convolution
of the small map, so the four phases are channels of one convolution, and `interleave` moves them to their places. Two operations are
computed in this way:

- `fold_enlargement`: nearest-neighbour enlargement, then a 5x5 convolution.
- `input_gradient`: the gradient of a 5x5 convolution of stride 2 by its input, which is a transposed convolution. For few channels torch's
  takes several times as long on a CPU (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def interleave(phases: Tensor) -> Tensor:
    """Move phases (n, 4 c, h, w), the phase before the channel, to their places: (n, c, 2 h, 2 w), with the channels last in memory.

    With this order of channels each row of a block is copied in one piece; torch's `pixel_shuffle`, whose phases come after the channel,
    moves single values.
    """
    n, channels, h, w = phases.shape
    blocks = phases.permute(0, 2, 3, 1).reshape(n, h, w, 2, 2, channels // 4)
    return blocks.transpose(2, 3).reshape(n, 2 * h, 2 * w, channels // 4).permute(0, 3, 1, 2)


def fold_enlargement(weight: Tensor) -> Tensor:
    """Fold nearest-neighbour enlargement by two into the kernel of the following 5x5 convolution: an equivalent 3x3 convolution.

    After enlargement each input pixel is a 2x2 block of equal values. The 25 taps around an output pixel fall on 3x3 blocks. Taps on the
    same block multiply the same value, so their weights can be added beforehand. After `interleave` the result is equal up to rounding,
    with 9/25 of the arithmetic.

    Args:
        weight: (outputs, inputs, 5, 5).

    Returns:
        (4 * outputs, inputs, 3, 3), the phase before the output channel.
    """
    outputs, inputs = weight.shape[:2]
    # Which of the 5 taps fall on the previous block, on the pixel's and on the next one: for each phase along an axis a row for each block.
    # Computed on the weight's device, because a CUDA graph cannot copy a table there.
    phase, block, tap = (torch.arange(count, device=weight.device) for count in (2, 3, 5))
    rows = ((phase[:, None, None] + tap) // 2 == block[:, None]).flatten(0, 1).to(weight.dtype)
    # Each of the rows along one axis with each along the other: (36, 25).
    sums = torch.kron(rows, rows) @ weight.permute(0, 2, 3, 1).reshape(outputs, 25, inputs)
    phases = sums.view(outputs, 2, 3, 2, 3, inputs).permute(1, 3, 0, 2, 4, 5)
    return phases.reshape(4 * outputs, 3, 3, inputs).permute(0, 3, 1, 2)


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient of a convolution by its input, for kernel 5, stride 2, padding 2 and inputs of even sides.

    Along an axis, input pixel 2 i + a takes from output pixel i + d, for d of -1, 0 and 1, through tap a + 2 - 2 d, where there is one.

    Args:
        gradient: (n, outputs, h, w), by the output.
        weight: (outputs, inputs, 5, 5).

    Returns:
        (n, inputs, 2 h, 2 w).
    """
    outputs, inputs = weight.shape[:2]
    # With a sixth tap of zero a tap's number is twice the block's number, counted from the last one, plus the phase.
    taps = F.pad(weight, (0, 1, 0, 1)).reshape(outputs, inputs, 3, 2, 3, 2).flip(2, 4)
    kernel = taps.permute(3, 5, 1, 2, 4, 0).reshape(4 * inputs, 3, 3, outputs).permute(0, 3, 1, 2)
    return interleave(F.conv2d(gradient, kernel, padding=1))
