"""Instance norm with written-out derivatives: torch's as the oracle, and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from angiosynth.generators.gan.instance import InstanceNorm


def _maps(dtype: torch.dtype = torch.float64) -> Tensor:
    random = torch.Generator().manual_seed(5)
    return (torch.randn(2, 3, 4, 5, generator=random, dtype=torch.float64) * 3 + 2).to(dtype)


def test_values_are_torchs() -> None:
    x = _maps()
    torch.testing.assert_close(InstanceNorm()(x), F.instance_norm(x))
    torch.testing.assert_close(InstanceNorm()(x.float()), F.instance_norm(x).float())


def test_a_constant_map_becomes_zero() -> None:
    constant = torch.full((1, 2, 4, 4), 7.0)
    assert torch.equal(InstanceNorm()(constant), torch.zeros(1, 2, 4, 4))


def test_derivatives_agree_with_differences() -> None:
    x = _maps().requires_grad_()
    assert torch.autograd.gradcheck(InstanceNorm(), (x,))
    assert torch.autograd.gradgradcheck(InstanceNorm(), (x,))


def test_a_small_variance_has_its_derivatives_too() -> None:
    x = (_maps() * 1e-3).requires_grad_()  # about as small as the constant under the root
    assert torch.autograd.gradgradcheck(InstanceNorm(), (x,), eps=1e-7, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_penalty_has_torchs_gradient(layout: torch.memory_format) -> None:
    x = _maps().to(memory_format=layout).requires_grad_()
    push = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def gradient(y: Tensor) -> Tensor:
        slope = torch.autograd.grad((y * push).square().sum(), x, create_graph=True)[0]
        return torch.autograd.grad((slope.square().sum(dim=(1, 2, 3)).sqrt() - 1).square().mean() + y.pow(3).sum(), x)[0]

    torch.testing.assert_close(gradient(InstanceNorm()(x)), gradient(F.instance_norm(x)))


def test_bfloat16_is_computed_in_float32() -> None:
    x = _maps(torch.bfloat16) + 100  # means of many bfloat16 values would be off by half a unit
    y = InstanceNorm()(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), F.instance_norm(x.double()), atol=0.02, rtol=0.01)
