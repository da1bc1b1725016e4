"""Spectral normalisation of a convolution kernel, with an explicit gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SpectralScale(nn.Module):
    """Divides a kernel by its largest singular value as a matrix (outputs, k * k * inputs) (Miyato et al. 2018).

    Power iteration estimates the first singular vectors u and v; each call of `iterate` makes one step. `forward` is differentiable in the
    weight, including through sigma = u^T W v.

    Args:
        weight: kernel of the convolution; gives the shape and the first iterations.
        output_axis: axis of the output channels, 0 or 1.
        iterations_at_start: power iterations at construction.
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
        """Run one power iteration towards the first singular vectors of `weight`."""
        matrix = by_outputs(weight, self.output_axis)
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Compute W / sigma in `dtype`, in the shape of `weight`."""
        scaled: Tensor = _Scaled.apply(weight, self.sigma(weight), self.u, self.v, self.output_axis, dtype)  # type: ignore[no-untyped-call]
        return scaled

    @torch.no_grad()
    def sigma(self, weight: Tensor) -> Tensor:
        """Return the estimate u^T W v of the largest singular value, a scalar in the weight's dtype."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.dot(self.u, by_outputs(weight, self.output_axis) @ self.v)


class _Scaled(torch.autograd.Function):
    """W / sigma with its gradient (G - <G, W> / sigma u v^T) / sigma.

    Derivation: d sigma = u^T dW v, since u and v are constants, so d(W / sigma) = dW / sigma - W (u^T dW v) / sigma^2. Written out, the
    gradient takes three passes over the weight; autograd would take eight.
    """

    # Seven parameters: autograd functions take every tensor and constant as a separate argument.
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
        wide = gradient * inverse.view(1, 1, 1, 1)  # four axes, because a scalar tensor would not promote bfloat16 to float32
        projection = torch.dot(_flat(wide), _flat(weight)) * inverse  # <G, W> / sigma, with `wide` = G / sigma
        # u as a factor along the output axis, v as a factor along the kernel's sides and the input axis.
        sides = weight.shape[2:]
        rows = u.view(-1, 1, 1, 1) if context.output_axis == 0 else u.view(1, -1, 1, 1)
        columns = v.view(*sides, -1).permute(2, 0, 1).unsqueeze(context.output_axis)
        # u v^T is not materialised: `addcmul_` multiplies two broadcast tensors.
        return wide.addcmul_(rows * -projection, columns), None, None, None, None, None


def by_outputs(weight: Tensor, output_axis: int) -> Tensor:
    """Return the kernel as a matrix (outputs, k * k * inputs); a view if the input channels are last in memory."""
    return weight.movedim(output_axis, 0).movedim(1, -1).flatten(1)


def _flat(weight: Tensor) -> Tensor:
    """All values (n,) in the memory order of a channels-last weight."""
    return weight.movedim(1, -1).reshape(-1)
