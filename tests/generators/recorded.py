"""CUDA graphs emulated on the CPU: a recording of torch's operations with their tensors, replayed on the same tensors.

As on a GPU, recording changes nothing, Python runs only while it is recorded, numbers are constants, and tensors keep their memory. What a
GPU forbids is an error here too: reading a value, and turning numbers of Python into a tensor. Temporary tensors of a graph share memory on
a GPU, so what was written into one before a replay is lost: here each is filled with NaN first. A GPU computes nothing while it records;
the CPU does, with zeros where memory is reserved, since some of its operations end the process for arbitrary numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from angiosynth.generators import graphs as graphs_module
from angiosynth.generators import optimisers

RESERVING = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")
READING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh")  # the last turns numbers of Python into a tensor


def tensors_of(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class Graph(TorchDispatchMode):
    """Records operations, and undoes afterwards what they have changed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: set[int] = set()
        self.temporary: list[Tensor] = []
        self.alive: list[Any] = []  # memory of a graph is not used for anything else
        self.replays = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name
        if name in READING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        # keep the values of tensors from before the recording that this operation overwrites
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        self._keep(kwargs.get("out"))
        made = function(*args, **kwargs)
        if name in RESERVING:
            made.zero_()
        written = any(argument.alias_info is not None for argument in function._schema.arguments)
        if not written:
            self.made |= {tensor.untyped_storage().data_ptr() for tensor in tensors_of(made)}
            self.temporary += tensors_of(made)
        view = written and not any(a.alias_info is not None and a.alias_info.is_write for a in function._schema.arguments)
        if not view and name not in RESERVING:  # a view shows the memory of its base
            self.operations.append((function, args, kwargs, [] if written else tensors_of(made)))
        self.alive.append((made, args))
        return made

    def _keep(self, values: Any) -> None:
        for tensor in tensors_of(values):
            storage = tensor.untyped_storage().data_ptr()
            if storage not in self.made and storage not in self.before:
                self.before[storage] = tensor, tensor.detach().clone()

    def undo(self) -> None:
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for tensor in self.temporary:
            tensor.fill_(float("nan") if tensor.is_floating_point() else 1)
        for function, args, kwargs, outputs in self.operations:
            made = tensors_of(function(*args, **kwargs))
            for output, value in zip(outputs, made, strict=bool(outputs)) if outputs else ():
                output.copy_(value)


@contextmanager
def _recorded(graph: Graph, **_: Any) -> Iterator[None]:
    try:
        with graph:
            yield
    finally:
        graph.undo()


def emulate_graphs(patch: pytest.MonkeyPatch) -> list[Graph]:
    """Let trainings on the CPU use emulated graphs; returns the list to which each recorded graph is added."""
    graphs: list[Graph] = []

    def new_graph() -> Graph:
        graphs.append(Graph())
        return graphs[-1]

    stream = SimpleNamespace(wait_stream=lambda _: None)
    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda _: nullcontext(),
        "set_stream": lambda _: None,
        "graph_pool_handle": lambda: None,
        "CUDAGraph": new_graph,
        "graph": _recorded,
    }.items():
        patch.setattr(torch.cuda, name, value)
    for module in (graphs_module, optimisers):
        patch.setattr(module, "uses_graphs", lambda _: not graphs_module._are_left_out.get())
    return graphs
