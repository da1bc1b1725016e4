"""The U-net's size, shape and first guess."""

from __future__ import annotations

import itertools

import pytest
import torch

from angiosynth.segmentation.unet import LEVELS, SIDE_MULTIPLE, VESSEL_LOG_ODDS, Unet, build_unet


@pytest.mark.parametrize(("width", "weights"), [(32, 7_846_081), (64, 31_377_793)])
def test_the_published_sizes(width: int, weights: int) -> None:
    """Livne's half and full U-net, counted by hand: two 3x3 convolutions a level, the first on the way up sees level and skip."""
    channels = [1, *(width * 2**level for level in range(5))]
    by_hand = width + 1
    for inputs, outputs in itertools.pairwise(channels):
        by_hand += 9 * outputs * (inputs + outputs) + 2 * outputs
    for deep, outputs in zip(channels[:1:-1], channels[-2:0:-1], strict=True):
        by_hand += 9 * outputs * (deep + outputs + outputs) + 2 * outputs
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Unet(width).parameters()) == weights == by_hand


def test_channels_double_and_sides_halve() -> None:
    unet = Unet(3)
    seen: list[tuple[int, ...]] = []
    for level in (*unet.down, *unet.up):
        level.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[1:])))
    with torch.no_grad():
        assert unet(torch.zeros(2, 1, 32, 48)).shape == (2, 1, 32, 48)
    assert seen[:LEVELS] == [(3, 32, 48), (6, 16, 24), (12, 8, 12), (24, 4, 6), (48, 2, 3)]
    assert seen[LEVELS:] == [(24, 4, 6), (12, 8, 12), (6, 16, 24), (3, 32, 48)]


def test_sides_must_be_multiples_of_sixteen() -> None:
    assert SIDE_MULTIPLE == 16
    with pytest.raises(RuntimeError):
        Unet(2)(torch.zeros(1, 1, 24, 24))


def test_the_first_guess_is_rare_vessels() -> None:
    unet = build_unet(4, 0.0, 1)
    assert unet.last.bias is not None
    assert unet.last.bias.item() == VESSEL_LOG_ODDS
    with torch.no_grad():
        assert unet(torch.zeros(1, 1, 16, 16)).sigmoid().mean() == pytest.approx(0.018, abs=1e-3)


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(9)
    expected = torch.randn(3)
    torch.manual_seed(9)
    one = build_unet(2, 0.0, 5).state_dict()
    assert torch.equal(torch.randn(3), expected)
    two, other = build_unet(2, 0.0, 5).state_dict(), build_unet(2, 0.0, 6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["down.0.first.weight"], other["down.0.first.weight"])


def test_dropout_acts_in_training_alone() -> None:
    unet, x = build_unet(4, 0.5, 1), torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(unet(x), unet(x))
    unet.eval()
    assert torch.equal(unet(x), unet(x))


def test_gradients_reach_every_weight() -> None:
    unet = build_unet(3, 0.0, 2)
    unet(torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    for name, weight in unet.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
