"""Spectral norm of a convolution's kernel, with a gradient written out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SpectralScale(nn.Module):
    """Divides a kernel by its largest singular value, as a matrix (outputs, k * k * inputs) (Miyato et al. 2018).

    The singular vectors u and v are estimated by power iteration, one step at each `iterate`. `forward` is differentiable in the weight,
    also through sigma = u^T W v.

    Args:
        weight: kernel of the convolution, for the shape and the first iterations.
        output_axis: the axis of the output channels, 0 or 1.
        iterations_at_start: steps of power iteration at construction.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, output_axis: int, iterations_at_start: int = 15) -> None:
        super().__init__()
        self.output_axis = output_axis
        matrix = by_outputs(weight.detach(), output_axis)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(iterations_at_start):
            self.iterate(weight)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """Make one power iteration towards the first singular vectors of `weight`."""
        matrix = by_outputs(weight, self.output_axis)
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """W / sigma in `dtype`, of the shape of `weight`."""
        scaled: Tensor = _Scaled.apply(weight, self.sigma(weight), self.u, self.v, self.output_axis, dtype)  # type: ignore[no-untyped-call]
        return scaled

    @torch.no_grad()
    def sigma(self, weight: Tensor) -> Tensor:
        """u^T W v, a scalar."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.dot(self.u, by_outputs(weight, self.output_axis) @ self.v)


class _Scaled(torch.autograd.Function):
    """W / sigma. Its gradient (G - <G, W> / sigma u v^T) / sigma takes three passes over the weight written out, eight by autograd."""

    # Seven parameters: autograd functions take every tensor and constant as an argument of their own.
    @staticmethod
    def forward(context: Any, weight: Tensor, sigma: Tensor, u: Tensor, v: Tensor, output_axis: int, dtype: torch.dtype) -> Tensor:
        inverse = sigma.reciprocal()
        context.save_for_backward(weight, u, v, inverse)
        context.output_axis = output_axis
        return torch.mul(weight, inverse, out=torch.empty_like(weight, dtype=dtype))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, u, v, inverse = context.saved_tensors
        wide = gradient * inverse.view(1, 1, 1, 1)  # four axes, since a scalar would not promote bfloat16 to float32
        projection = torch.dot(_flat(wide), _flat(weight)) * inverse
        sides = weight.shape[2:]
        rows = u.view(-1, 1, 1, 1) if context.output_axis == 0 else u.view(1, -1, 1, 1)
        columns = v.view(*sides, -1).permute(2, 0, 1).unsqueeze(context.output_axis)
        # u v^T is never formed: it is the product of two broadcast tensors.
        return wide.addcmul_(rows * -projection, columns), None, None, None, None, None


def by_outputs(weight: Tensor, output_axis: int) -> Tensor:
    """(outputs, k * k * inputs), a view where the inputs come last in memory."""
    return weight.movedim(output_axis, 0).movedim(1, -1).flatten(1)


def _flat(weight: Tensor) -> Tensor:
    """All values, in memory order of a channels-last weight."""
    return weight.movedim(1, -1).reshape(-1)
