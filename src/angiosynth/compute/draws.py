"""Random numbers of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Distribution = Callable[..., Tensor]
Requests = list[tuple[Distribution, Tensor]]
CPU = torch.device("cpu")


class Draws:
    """Random numbers, drawn on the CPU in the order of the requests and moved to a device: they are the same for all devices.

    A CUDA graph repeats the same operations on the same memory, so it cannot draw numbers on the CPU. While it is recorded (`recording`),
    a request reserves memory and is noted. Before each replay `fill` draws all noted requests anew, in the same order.

    Args:
        random: a generator on the CPU.
        device: where the numbers are used.
    """

    def __init__(self, random: torch.Generator, device: torch.device = CPU) -> None:
        self.random, self.device = random, device
        self._requests: Requests | None = None

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers of this shape, uniform in [0, 1)."""
        return self._drawn(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers of this shape."""
        return self._drawn(torch.randn, shape)

    def _drawn(self, distribution: Distribution, shape: tuple[int, ...]) -> Tensor:
        if self._requests is None:
            return distribution(*shape, generator=self.random).to(self.device, non_blocking=True)
        reserved = torch.empty(shape, device=self.device)
        self._requests.append((distribution, reserved))
        return reserved

    @contextmanager
    def recording(self) -> Iterator[Requests]:
        """Note requests within this context instead of drawing them; yields the list of the notes."""
        self._requests = []
        try:
            yield self._requests
        finally:
            self._requests = None

    def fill(self, requests: Requests) -> None:
        """Draw noted requests into their memory."""
        for distribution, reserved in requests:
            reserved.copy_(distribution(*reserved.shape, generator=self.random), non_blocking=True)
