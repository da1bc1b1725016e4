"""How often pairs are augmented."""

from __future__ import annotations

import pytest
import torch

from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.adaptive import Augmentation

PAIRS = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5


def _draws() -> Draws:
    return Draws(torch.Generator().manual_seed(0))


def test_off_draws_nothing_and_returns_what_it_got() -> None:
    draws = _draws()
    before = draws.random.get_state()
    assert Augmentation("off", 0.9, 0.6, 100)(PAIRS, draws) is PAIRS
    assert torch.equal(draws.random.get_state(), before)


def test_a_fixed_probability_stays() -> None:
    augmentation = Augmentation("fixed", 0.25, 0.6, 100)
    assert augmentation.adapt(torch.tensor(1.0), 50) == {}
    assert augmentation.probability.item() == 0.25
    assert not torch.equal(Augmentation("fixed", 1.0, 0.6, 100)(PAIRS, _draws()), PAIRS)


def test_an_adaptive_probability_begins_at_zero() -> None:
    augmentation = Augmentation("adaptive", 0.9, 0.6, 100)
    assert augmentation.probability.item() == 0
    assert torch.equal(augmentation(PAIRS, _draws()), PAIRS)


def test_an_adaptive_probability_rises_above_its_target_and_falls_below() -> None:
    augmentation = Augmentation("adaptive", 0.0, 0.6, 100)
    seen = []
    for order in (0.7, 1.0, 0.5, 0.61, -1.0):
        numbers = augmentation.adapt(torch.tensor(order), 10)
        seen.append(numbers["augmentation_probability"].item())
        assert augmentation.probability.item() == seen[-1]
    assert seen == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.1])


def test_an_adaptive_probability_takes_its_pairs_from_0_to_1_and_stays_between() -> None:
    augmentation = Augmentation("adaptive", 0.0, 0.6, 100)
    augmentation.adapt(torch.tensor(0.0), 50)
    assert augmentation.probability.item() == 0
    for _ in range(2):
        augmentation.adapt(torch.tensor(0.9), 50)
    assert augmentation.probability.item() == 1
    augmentation.adapt(torch.tensor(0.9), 50)
    assert augmentation.probability.item() == 1


def test_the_probability_is_part_of_the_state() -> None:
    one, other = (Augmentation("adaptive", 0.0, 0.6, 100) for _ in range(2))
    one.adapt(torch.tensor(0.9), 30)
    other.load_state_dict(one.state_dict())
    assert other.probability.item() == pytest.approx(0.3)
