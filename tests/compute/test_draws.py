"""Random numbers of a training: the generator's own, in order, also if a graph asks for them in advance."""

from __future__ import annotations

import torch

from angiosynth.compute.draws import Draws


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_numbers_are_those_of_the_generator_in_the_order_of_the_requests() -> None:
    draws, random = Draws(_random()), _random()
    drawn = [draws.normal(4, 2), draws.uniform(3), draws.normal(1)]
    assert torch.equal(drawn[0], torch.randn(4, 2, generator=random))
    assert torch.equal(drawn[1], torch.rand(3, generator=random))
    assert torch.equal(drawn[2], torch.randn(1, generator=random))


def test_noted_requests_draw_nothing_until_they_are_filled_and_then_the_same_numbers() -> None:
    noting, plain = Draws(_random()), Draws(_random())
    with noting.recording() as requests:
        reserved = [noting.uniform(5), noting.normal(2, 3)]
    assert torch.equal(noting.random.get_state(), plain.random.get_state())
    for _ in range(2):  # each time anew
        noting.fill(requests)
        assert torch.equal(reserved[0], plain.uniform(5))
        assert torch.equal(reserved[1], plain.normal(2, 3))
    assert torch.equal(noting.normal(2), plain.normal(2)), "after recording, numbers are drawn at once"
