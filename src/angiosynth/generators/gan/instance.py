"""Instance norm with written-out first and second derivatives, for gradient penalties.

Each channel of each sample is a group of n values. All means are over a group, and e is a small constant:

    y = r (x - mean(x)),  r = (var(x) + e)^(-1/2)
    g_x = r (g - mean(g) - y mean(y g))                                        gradient by x, for an incoming gradient g

The second line is a symmetric linear map J of g. The penalty differentiates <h, J g>, for the incoming gradient h of the second backward
pass. By g that is J h. By x, with a = mean(h g) - mean(h) mean(g), b = mean(y h), c = mean(y g):

    <h, J g> = n r (a - b c)
    dr/dx = -r^2 y / n,  and a vector v that multiplies dy gives J v, so the derivative by x is
    -r^2 (y (a - 3 b c) + c (h - mean(h)) + b (g - mean(g)))

torch computes the same in many more passes, and first copies maps that have their channels last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-5  # as in torch.nn.InstanceNorm2d


class InstanceNorm(nn.Module):
    """Instance norm without weights, (n, c, h, w), as `torch.nn.InstanceNorm2d`; differentiable twice. Means are float32 or wider."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _InstanceNorm.apply(x)  # type: ignore[no-untyped-call]
        return y


class _InstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return _normalised(x)[0].to(x.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        of_x: Tensor = _Gradient.apply(gradient, *context.saved_tensors)  # type: ignore[no-untyped-call]
        return of_x


class _Gradient(torch.autograd.Function):
    """Gradient of instance norm by its input (g_x above), differentiable by the incoming gradient and the input."""

    @staticmethod
    def forward(context: Any, gradient: Tensor, x: Tensor) -> Tensor:
        context.save_for_backward(gradient, x)
        y, scale = _normalised(x)
        return _projected(_wide(gradient), y, scale).to(x.dtype)

    @staticmethod
    def backward(context: Any, outer: Tensor) -> tuple[Tensor, Tensor]:
        gradient, x = context.saved_tensors
        y, scale = _normalised(x)
        g, h = _wide(gradient), _wide(outer)
        h_centred, g_centred = h - _mean(h), g - _mean(g)
        a, b, c = _mean(h_centred * g_centred), _mean(y * h), _mean(y * g)
        of_gradient = torch.addcmul(h_centred, y, b, value=-1) * scale
        of_x = (y * (a - 3 * b * c)).addcmul_(h_centred, c).addcmul_(g_centred, b).mul_(-scale.square())
        return of_gradient.to(x.dtype), of_x.to(x.dtype)


def _normalised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return y and r of the module's docstring."""
    wide = _wide(x)
    centred = wide - _mean(wide)
    scale = torch.rsqrt(_mean(centred.square()) + EPSILON)
    return centred.mul_(scale), scale


def _projected(gradient: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    centred = gradient - _mean(gradient)
    return centred.addcmul_(y, _mean(y * gradient), value=-1).mul_(scale)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
