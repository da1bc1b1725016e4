"""CUDA graphs of training steps.

A step of a small network on a GPU is hundreds of kernels of a few microseconds each. Starting them one by one from Python takes several
times as long as they run. A CUDA graph is the recording of all kernels of a step with the addresses of their memory; the GPU replays it
without Python. docs/benchmarks.md has the times of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from angiosynth.compute.distributed import world_size
from angiosynth.compute.draws import Draws, Tape
from angiosynth.runtime.progress import say

WARM_UP = 3  # calls before the recording, in which libraries choose algorithms and optimisers allocate their moments
Numbers = dict[str, Tensor]
Inputs = tuple[Tensor | float, ...]
Step = Callable[..., Numbers]

_are_left_out = ContextVar("_are_left_out", default=False)


def uses_graphs(target: torch.device) -> bool:
    """Return whether steps on this device are replayed from CUDA graphs: on GPUs of NVIDIA, in a single process."""
    return target.type == "cuda" and world_size() == 1 and not _are_left_out.get()


@contextmanager
def without_graphs() -> Iterator[None]:
    """Let trainings that are built within this context start every kernel from Python: to compare the two."""
    token = _are_left_out.set(True)
    try:
        yield
    finally:
        _are_left_out.reset(token)


class Graphs:
    """The CUDA graphs of one training. They share memory for temporary tensors, since only one of them runs at a time.

    Args:
        draws: the random numbers of the steps.
        optimisers: the optimisers of the steps.
    """

    def __init__(self, draws: Draws, *optimisers: torch.optim.Optimizer) -> None:
        self.draws, self.optimisers, self.used = draws, optimisers, uses_graphs(draws.device)
        self.stream = torch.cuda.Stream() if self.used else None
        self.pool = torch.cuda.graph_pool_handle() if self.used else None
        self._steps: dict[str, _Replayed] = {}
        self._failed: list[Any] = []  # recordings that failed: torch may still refer to them

    def run(self, name: str, step: Step, *inputs: Tensor | float) -> Numbers:
        """Run a step, from a graph where graphs are used.

        Args:
            name: of the step; each name has a graph.
            step: takes the inputs. It changes networks and optimisers in place, takes random numbers from `draws` alone, and runs the same
                operations in every call, whatever the values are. It is not kept, so that a training is freed with its last reference.
            inputs: tensors of constant shapes, and floats, which become scalar tensors in a graph.
        """
        if not self.used:
            return step(*inputs)
        return self._steps.setdefault(name, _Replayed()).run(self, step, inputs)

    def leave_out(self, graph: Any, error: RuntimeError) -> None:
        """Run all steps as they are from now on, since torch could not record one."""
        self.used = False
        self._failed.append(graph)
        for optimiser in self.optimisers:  # gradients of the recording were not computed
            optimiser.zero_grad(set_to_none=True)
        cause = error.__context__ or error  # what broke the recording, rather than what its end says
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        say(f"the steps cannot be replayed from CUDA graphs, so Python starts each of their kernels, which is slower: {reason}")


class _Replayed:
    """A step that runs as it is at first, is then recorded, and from there on replayed. It does not keep the `Graphs` that keeps it."""

    graph: Any = None  # torch.cuda.CUDAGraph, which has no type
    tape: Tape
    inputs: list[Tensor]
    outputs: Numbers
    calls = 0

    def run(self, graphs: Graphs, step: Step, inputs: Inputs) -> Numbers:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._warm_up(graphs, step, inputs)
        if self.graph is None:
            self._record(graphs, step, inputs)
        if self.graph is None:
            return step(*inputs)
        for reserved, value in zip(self.inputs, inputs, strict=True):
            reserved.copy_(value) if isinstance(value, Tensor) else reserved.fill_(value)
        graphs.draws.fill(self.tape)
        self.graph.replay()
        # copies, because the next graph may overwrite the memory
        return {name: value.clone() for name, value in self.outputs.items()}

    def _warm_up(self, graphs: Graphs, step: Step, inputs: Inputs) -> Numbers:
        """Run the step as it is, on the stream that is recorded later, as torch asks for, and note its random numbers."""
        stream, current = graphs.stream, torch.cuda.current_stream()
        assert stream is not None
        stream.wait_stream(current)
        with torch.cuda.stream(stream), graphs.draws.noting() as self.tape:
            numbers = step(*inputs)
        current.wait_stream(stream)
        return numbers

    def _record(self, graphs: Graphs, step: Step, inputs: Inputs) -> None:
        """Record the step; nothing is computed. Where torch cannot record it, the training goes on without graphs."""
        graphs.draws.reserve(self.tape)
        self.inputs = [
            value.clone() if isinstance(value, Tensor) else torch.full((), value, device=graphs.draws.device) for value in inputs
        ]
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        recorded = torch.cuda.graph(graph, pool=graphs.pool, stream=graphs.stream, capture_error_mode="thread_local")
        try:
            with _capturable(graphs.optimisers), graphs.draws.handing_out(self.tape), recorded:
                self.outputs = step(*self.inputs)
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # the end of a recording that fails leaves its stream the current one
            graphs.leave_out(graph, error)
            return
        self.graph = graph


@contextmanager
def _capturable(optimisers: tuple[torch.optim.Optimizer, ...]) -> Iterator[None]:
    """Let optimisers be recorded within this context. Outside it torch would warn of the steps that are not."""
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
