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


def test_memory_of_noted_requests_is_filled_with_the_numbers_that_they_would_have_drawn() -> None:
    taped, plain = Draws(_random()), Draws(_random())
    with taped.noting() as tape:
        noted = [taped.uniform(5), taped.normal(2, 3)]
    assert torch.equal(noted[0], plain.uniform(5))
    assert torch.equal(noted[1], plain.normal(2, 3))
    taped.reserve(tape)
    with taped.handing_out(tape):
        reserved = [taped.uniform(5), taped.normal(2, 3)]
    assert torch.equal(taped.random.get_state(), plain.random.get_state())
    for _ in range(2):  # each time anew
        taped.fill(tape)
        assert torch.equal(reserved[0], plain.uniform(5))
        assert torch.equal(reserved[1], plain.normal(2, 3))
    assert torch.equal(taped.normal(2), plain.normal(2)), "afterwards numbers are drawn at once"
