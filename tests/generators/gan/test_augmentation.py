"""Transformations of pairs, each against one made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.augmentation import (
    AMOUNTS,
    ANGLE,
    BRIGHTEN,
    BRIGHTNESS,
    CHOICES,
    MIRROR,
    MOVE,
    SHEAR,
    SHIFT,
    SKEW,
    TURN,
    augment,
    maps,
    transform,
)

SIDE = 16


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pairs(count: int = 3, side: int = SIDE) -> Tensor:
    return torch.rand(count, 2, side, side, generator=_random(1)) * 1.6 - 0.8


def _transformed(pairs: Tensor, applied: int | None, amounts: dict[int, float] | None = None) -> Tensor:
    """The pairs under one transformation with the given amounts."""
    chosen, values = torch.zeros(len(pairs), CHOICES, dtype=torch.bool), torch.zeros(len(pairs), AMOUNTS)
    if applied is not None:
        chosen[:, applied] = True
    for index, amount in (amounts or {}).items():
        values[:, index] = amount
    return transform(pairs, chosen, values)


def test_probability_zero_is_the_identity_to_the_bit() -> None:
    assert torch.equal(augment(_pairs(), torch.tensor(0.0), Draws(_random())), _pairs())


def test_what_was_not_applied_changes_nothing_whatever_its_amount() -> None:
    assert torch.equal(_transformed(_pairs(), None, dict.fromkeys(range(AMOUNTS), 0.9)), _pairs())


def test_the_probability_changes_no_number_of_draws() -> None:
    states = []
    for probability in (0.0, 0.5, 1.0):
        random = _random()
        augment(_pairs(), torch.tensor(probability), Draws(random))
        states.append(random.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_a_share_of_the_pairs_as_the_probability_says_is_changed() -> None:
    pairs = _pairs(2000)
    changed = (augment(pairs, torch.tensor(0.2), Draws(_random())) != pairs).flatten(1).any(dim=1).float().mean().item()
    moved = 15 / 16  # of the shifts; both along x and along y a quarter is of no pixel
    assert changed == pytest.approx(1 - 0.8**4 * (1 - 0.2 * moved), abs=0.04)  # standard error 0.01


def test_a_mirrored_pair_is_flipped_along_x() -> None:
    torch.testing.assert_close(_transformed(_pairs(), MIRROR), _pairs().flip(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("amount", "quarters"), [(-0.9, 1), (0.0, 2), (0.9, 3)], ids=["one", "two", "three"])
def test_quarter_turns_are_those_of_rot90(amount: float, quarters: int) -> None:
    expected = torch.rot90(_pairs(), quarters, (2, 3))
    torch.testing.assert_close(_transformed(_pairs(), TURN, {0: amount}), expected, atol=1e-5, rtol=0)


def test_each_quarter_turn_comes_equally_often() -> None:
    amounts = torch.rand(3000, AMOUNTS, generator=_random()) * 2 - 1
    chosen = torch.zeros(3000, CHOICES, dtype=torch.bool)
    chosen[:, TURN] = True
    corners = maps(chosen, amounts, SIDE)[:, :, :2].flatten(1)
    _, counts = corners.unique(dim=0, return_counts=True)
    assert len(counts) == 3
    assert (counts - 1000).abs().max() < 130  # five standard errors


def test_a_shift_moves_by_whole_pixels_and_mirrors_at_the_edge() -> None:
    pairs = _pairs()
    most = int(SHIFT * SIDE)
    assert most == 2
    moved = _transformed(pairs, MOVE, {1: 0.999, 2: -0.4})  # columns are read 2 further, rows 1 before
    expected = torch.empty_like(pairs)
    columns = [*range(2, SIDE), SIDE - 1, SIDE - 2]
    rows = [0, *range(SIDE - 1)]
    expected[:] = pairs[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_a_turn_and_shear_by_hand() -> None:
    chosen = torch.zeros(1, CHOICES, dtype=torch.bool)
    chosen[:, SKEW] = True
    amounts = torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    cos, sin = torch.tensor(ANGLE).cos(), torch.tensor(ANGLE).sin()
    torch.testing.assert_close(maps(chosen, amounts, SIDE)[0], torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]))
    amounts = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(maps(chosen, amounts, SIDE)[0], torch.tensor([[1.0, SHEAR, 0.0], [0.0, 1.0, 0.0]]))


def test_brightness_changes_the_image_alone_and_stays_in_range() -> None:
    pairs = _pairs()
    for amount in (-0.5, 0.9):
        brighter = _transformed(pairs, BRIGHTEN, {5: amount})
        torch.testing.assert_close(brighter[:, 0], (pairs[:, 0] + amount * BRIGHTNESS).clamp(-1, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(brighter[:, 1], pairs[:, 1], atol=1e-5, rtol=0)


def test_the_label_stays_on_the_image() -> None:
    image = torch.zeros(40, 1, SIDE, SIDE)
    image[:, :, 3:7, 5:13] = 1.0
    random = _random()
    chosen = torch.rand(40, CHOICES, generator=random) < 0.8
    chosen[:, BRIGHTEN] = False
    moved = transform(torch.cat([image, image], dim=1), chosen, torch.rand(40, AMOUNTS, generator=random) * 2 - 1)
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert (moved[:, 0] != image[:, 0]).flatten(1).any(dim=1).sum() > 30


def test_values_stay_between_those_of_the_pair() -> None:
    pairs = _pairs(64)
    moved = augment(pairs, torch.tensor(1.0), Draws(_random()))
    assert moved[:, 1].min() >= pairs[:, 1].min() - 1e-5
    assert moved[:, 1].max() <= pairs[:, 1].max() + 1e-5
    assert moved.abs().max() <= 1


def test_gradients_pass() -> None:
    pairs = torch.rand(2, 2, 4, 4, generator=_random(), dtype=torch.float64) * 1.2 - 0.6
    pairs.requires_grad_(True)
    chosen = torch.tensor([[True] * CHOICES, [False] * CHOICES])
    amounts = (torch.rand(2, AMOUNTS, generator=_random(3)) * 2 - 1).double()
    assert torch.autograd.gradcheck(lambda x: transform(x, chosen, amounts), (pairs,))


@pytest.mark.parametrize("side", [32, 96, 192])
def test_mixed_precision_moves_by_whole_pixels_too(side: int) -> None:
    pairs = _pairs(8, side)
    applied = torch.zeros(8, CHOICES, dtype=torch.bool)
    applied[:, MOVE] = True
    amounts = torch.rand(8, AMOUNTS, generator=_random(2)) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        mixed = transform(pairs, applied, amounts)
    torch.testing.assert_close(mixed, transform(pairs, applied, amounts), rtol=0, atol=0)
