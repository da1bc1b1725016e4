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
from torch import Tensor, nn

from angiosynth.compute.distributed import world_size
from angiosynth.compute.draws import Draws, Requests
from angiosynth.runtime.progress import say

WARM_UP = 3  # calls before the recording, in which libraries choose algorithms and optimisers allocate their moments
Numbers = dict[str, Tensor]

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
    """The CUDA graphs of one training. Each keeps memory of its own for temporary tensors.

    Args:
        draws: the random numbers of the steps.
        networks: the networks that the steps train.
    """

    def __init__(self, draws: Draws, *networks: nn.Module) -> None:
        self.networks = networks
        self.draws, self.used = draws, uses_graphs(draws.device)
        self.stream = torch.cuda.Stream() if self.used else None

    def replayed(self, step: Callable[..., Numbers]) -> Callable[..., Numbers]:
        """Return a function that does what `step` does, from a graph where graphs are used; else `step` itself.

        Args:
            step: takes tensors of constant shapes and floats, which become scalar tensors in a graph. It changes networks and optimisers in
                place, takes random numbers from `draws` alone, and runs the same operations in every call, whatever the values are.
        """
        return _Replayed(self, step) if self.used else step

    def forget(self) -> None:
        """Drop the gradients of a recording that has failed: they were not computed."""
        for network in self.networks:
            network.zero_grad(set_to_none=True)


class _Replayed:
    """A step that runs as it is at first, is then recorded, and from there on replayed."""

    graph: Any = None  # torch.cuda.CUDAGraph, which has no type
    requests: Requests
    outputs: Numbers

    def __init__(self, graphs: Graphs, step: Callable[..., Numbers]) -> None:
        self.graphs, self.step, self.calls = graphs, step, 0
        self.inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor | float) -> Numbers:
        self.calls += 1
        if self.calls == WARM_UP + 1:
            self._record(inputs)
        if self.graph is None:
            return self._on_stream(inputs)
        for reserved, value in zip(self.inputs, inputs, strict=True):
            reserved.copy_(value) if isinstance(value, Tensor) else reserved.fill_(value)
        self.graphs.draws.fill(self.requests)
        self.graph.replay()
        # copies, because the next replay overwrites the memory
        return {name: value.clone() for name, value in self.outputs.items()}

    def _on_stream(self, inputs: tuple[Tensor | float, ...]) -> Numbers:
        """Run the step as it is, on the stream that is recorded later, as torch asks for."""
        stream, current = self.graphs.stream, torch.cuda.current_stream()
        assert stream is not None
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            numbers = self.step(*inputs)
        current.wait_stream(stream)
        return numbers

    def _record(self, inputs: tuple[Tensor | float, ...]) -> None:
        """Record the step; nothing is computed. Where torch cannot record it, the training goes on without a graph."""
        device = self.graphs.draws.device
        self.inputs = [value.clone() if isinstance(value, Tensor) else torch.full((), value, device=device) for value in inputs]
        graph = torch.cuda.CUDAGraph()
        recorded = torch.cuda.graph(graph, stream=self.graphs.stream, capture_error_mode="thread_local")
        try:
            with self.graphs.draws.recording() as self.requests, recorded:
                self.outputs = self.step(*self.inputs)
        except RuntimeError as error:
            self.graphs.forget()
            reason = str(error).splitlines()[0]
            say(f"this step cannot be replayed from a CUDA graph, so Python starts each of its kernels, which is slower: {reason}")
            return
        self.graph = graph
