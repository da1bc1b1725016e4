"""Random numbers of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

Distribution = Callable[..., Tensor]
CPU = torch.device("cpu")


@dataclass
class Tape:
    """The random numbers that a step takes, in order: their distributions, and memory for them.

    The memory is reserved outside the recording of a CUDA graph. Memory that is reserved while a graph is recorded may be that of
    earlier temporary tensors of the same graph, and a replay would overwrite numbers that were filled in before it.
    """

    requests: list[tuple[Distribution, tuple[int, ...]]] = field(default_factory=list)
    reserved: list[Tensor] = field(default_factory=list)


class Draws:
    """Random numbers, drawn on the CPU in the order of the requests and moved to a device: they are the same for all devices.

    A CUDA graph repeats the same operations on the same memory, so it cannot draw numbers on the CPU. A call of the step notes its
    requests (`noting`); while the graph is recorded, the same requests get the memory of the tape (`handing_out`); and before each replay
    `fill` draws the numbers anew, in the same order.

    Args:
        random: a generator on the CPU.
        device: where the numbers are used.
    """

    def __init__(self, random: torch.Generator, device: torch.device = CPU) -> None:
        self.random, self.device = random, device
        self._noted: Tape | None = None
        self._handed_out: Iterator[Tensor] | None = None

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers of this shape, uniform in [0, 1)."""
        return self._drawn(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers of this shape."""
        return self._drawn(torch.randn, shape)

    def _drawn(self, distribution: Distribution, shape: tuple[int, ...]) -> Tensor:
        if self._handed_out is not None:
            return next(self._handed_out)
        if self._noted is not None:
            self._noted.requests.append((distribution, shape))
        return distribution(*shape, generator=self.random).to(self.device, non_blocking=True)

    @contextmanager
    def noting(self) -> Iterator[Tape]:
        """Draw as usual within this context, and note the requests."""
        self._noted = Tape()
        try:
            yield self._noted
        finally:
            self._noted = None

    @contextmanager
    def handing_out(self, tape: Tape) -> Iterator[None]:
        """Draw nothing within this context: requests, which must be those of the tape, get its memory."""
        self._handed_out = iter(tape.reserved)
        try:
            yield
        finally:
            self._handed_out = None

    def reserve(self, tape: Tape) -> None:
        """Reserve the memory of a tape, filled with zeros."""
        tape.reserved = [torch.zeros(shape, device=self.device) for _, shape in tape.requests]

    def fill(self, tape: Tape) -> None:
        """Draw the numbers of a tape into its memory."""
        for (distribution, shape), reserved in zip(tape.requests, tape.reserved, strict=True):
            reserved.copy_(distribution(*shape, generator=self.random), non_blocking=True)
