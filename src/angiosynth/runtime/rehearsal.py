"""Measure the peak memory of torch operations on fake tensors, which have shapes but no data."""

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
    """Memory of a training in bytes: peak, and between two steps (weights, moments, copies)."""

    peak: int
    lasting: int


class Rehearsal(TorchDispatchMode):
    """Counts the bytes of all live storages that were allocated by operations in this mode.

    Every storage is counted when an operation first returns it and subtracted when it is freed. Convolutions are counted with a copy of all
    inputs and outputs, because libraries reorder them. Fragmentation (gaps between live tensors) is not counted.

    Attributes:
        alive: current bytes.
        peak: maximum of `alive`, including the copies of convolutions.
        large: bytes of single storages of at least LARGE bytes at the peak.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.large = 0
        self._storages: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the check would cost more than the counting

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
        if key in self._storages:  # a view, or the result of an in-place operation
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
    """Context in which new tensors are fake and the memory that they would take is counted. Values must not be read."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)  # errors are raised; suppress the additional traceback in the log
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True), Rehearsal() as counted:
            warnings.simplefilter("ignore")
            yield counted
    finally:
        log.setLevel(level)


def doubles(network: nn.Module) -> list[Tensor]:
    """Return the tensors of the size of Adam's two moments of each parameter, which Adam would allocate in its first step."""
    return [torch.zeros_like(parameter) for parameter in network.parameters() for _ in range(2)]
