"""The velocity network: its shapes, its parts against their formulas, and where it starts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.generators.flow.networks import Attention, ResidualBlock, TimeEmbedding, VelocityNet, group_norm


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def _filled(network: nn.Module) -> nn.Module:
    """With weights that are zero at first drawn at random, too."""
    for weight in network.parameters():
        if not weight.detach().any():
            nn.init.normal_(weight, 0.0, 0.3)
    return network


@pytest.mark.parametrize(("size", "levels", "packing"), [(16, 1, 1), (16, 4, 2), (32, 3, 2), (48, 4, 2), (96, 4, 1), (128, 4, 2)])
def test_fields_have_the_shape_of_pairs(size: int, levels: int, packing: int) -> None:
    network = _filled(VelocityNet(4, levels, packing, size))
    field = network(torch.randn(2, 2, size, size), torch.tensor([0.1, 0.9]))
    assert field.shape == (2, 2, size, size)
    assert field.std() > 0


def test_it_predicts_nothing_before_training_and_every_weight_has_a_part_in_it_later() -> None:
    network, x, time = VelocityNet(6, 3, 2, 16), torch.randn(3, 2, 16, 16), torch.rand(3)
    assert not network(x, time).any()
    _filled(network)(x, time).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_one_time_for_all_is_that_time_for_each() -> None:
    network, x = _filled(VelocityNet(4, 2, 2, 16)), torch.randn(3, 2, 16, 16)
    torch.testing.assert_close(network(x, torch.full((1,), 0.3)), network(x, torch.full((3,), 0.3)))
    assert not torch.allclose(network(x, torch.full((1,), 0.3)), network(x, torch.full((1,), 0.31)))


def test_pairs_of_a_batch_do_not_see_each_other() -> None:
    network, x, time = _filled(VelocityNet(4, 3, 2, 16)), torch.randn(4, 2, 16, 16), torch.rand(4)
    together = network(x, time)
    alone = torch.cat([network(x[row : row + 1], time[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_attention_lets_every_position_see_all_others() -> None:
    network, x = _filled(VelocityNet(4, 2, 2, 32)), torch.randn(1, 2, 32, 32)
    moved = x.clone()
    moved[:, :, 0, 0] += 5.0
    change = (network(moved, torch.full((1,), 0.5)) - network(x, torch.full((1,), 0.5))).abs()
    assert change[:, :, -1, -1].min() > 0


@pytest.mark.parametrize("channels", [12, 64])
def test_attention_is_the_softmax_of_products_head_by_head(channels: int) -> None:
    attention, x = Attention(channels), torch.randn(2, channels, 3, 5)
    assert torch.equal(attention(x), x)  # before training
    nn.init.normal_(attention.last.weight)
    queries, keys, values = attention.projections(attention.norm(x)).flatten(2).chunk(3, dim=1)  # (n, channels, positions)
    heads: list[Tensor] = []
    for q, k, v in zip(*(part.chunk(attention.heads, dim=1) for part in (queries, keys, values)), strict=True):
        weights = torch.softmax(torch.einsum("ncp,ncq->npq", q, k) / math.sqrt(q.shape[1]), dim=2)
        heads.append(torch.einsum("npq,ncq->ncp", weights, v))
    mixed = torch.cat(heads, dim=1).view(x.shape)
    torch.testing.assert_close(attention(x), x + F.conv2d(mixed, attention.last.weight), rtol=1e-4, atol=1e-4)
    assert attention.heads == {12: 1, 64: 2}[channels]


def test_a_residual_block_by_its_formula() -> None:
    block, x, embedded = ResidualBlock(6, 8, 5), torch.randn(2, 6, 4, 4), torch.randn(2, 5)
    torch.testing.assert_close(block(x, embedded), block.skip(x))  # before training
    _filled(block)
    scale, shift = (block.modulation(embedded)[:, part, None, None] for part in (slice(0, 8), slice(8, 16)))
    norms = [(norm.weight, norm.bias) for norm in (block.first_norm, block.second_norm)]
    hidden = block.first(F.silu(F.group_norm(x, 1, *norms[0])))
    hidden = block.second(F.silu(F.group_norm(hidden, 2, *norms[1]) * (1 + scale) + shift))
    torch.testing.assert_close(block(x, embedded), block.skip(x) + hidden)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 1), (6, 1), (8, 2), (12, 3), (24, 6), (32, 8), (128, 8)])
def test_a_norms_groups(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


def test_times_are_distinguished_at_both_ends() -> None:
    embedding = TimeEmbedding(8)
    for times in (torch.tensor([0.0, 0.01]), torch.tensor([0.5, 0.51]), torch.tensor([0.99, 1.0])):
        angles = times[:, None] * embedding.frequencies
        assert (angles.sin()[0] - angles.sin()[1]).abs().max() > 0.3
    assert embedding(torch.rand(3)).shape == (3, 8)
