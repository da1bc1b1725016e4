"""How much memory a piece of torch's work needs at most, computed on tensors that have shapes and no content."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CONVOLUTIONS = frozenset({torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default})

LARGE = 2**28


@dataclass(frozen=True)
class Need:
    """Bytes that a training takes: at most, and lasting between two steps (weights, moments, copies)."""

    peak: int
    lasting: int


class Rehearsal(TorchDispatchMode):
    """Counts the bytes of all storages alive that operations within it have made.

    A convolution counts with a copy of all that it takes and gives, for libraries reorder them. Gaps between
    live tensors are not counted.

    Attributes:
        alive: bytes now.
        peak: bytes at most so far.
        large: what single storages of LARGE bytes and more had in that.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.large = 0
        self._storages: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it costs more than the counting

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        for tensor in tensors:
            self._count(tensor.untyped_storage())
        if function in CONVOLUTIONS:
            tensors += [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            self._reach(self.alive + sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        return made

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._storages:  # a view, or written in place
            return
        self._storages[key] = storage.nbytes()
        self.alive += storage.nbytes()
        self._reach(self.alive)
        weakref.finalize(storage, self._forget, key)

    def _reach(self, total: int) -> None:
        if total > self.peak:
            self.peak, self.large = total, sum(size for size in self._storages.values() if size >= LARGE)

    def _forget(self, key: int) -> None:
        self.alive -= self._storages.pop(key, 0)


@contextmanager
def rehearsal() -> Iterator[Rehearsal]:
    """Within, tensors have no content, and the memory that they would take is counted. Their values must not be read."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)  # a shape that does not fit is raised; no traceback of it beside that
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True), Rehearsal() as counted:
            warnings.simplefilter("ignore")
            yield counted
    finally:
        log.setLevel(level)


def doubles(network: nn.Module) -> list[Tensor]:
    """Tensors of the size of Adam's two moments of each parameter, for rehearsals: the moments come with the first step."""
    return [torch.zeros_like(parameter) for parameter in network.parameters() for _ in range(2)]
