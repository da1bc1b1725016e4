"""One training on several processes: `torchrun --nproc-per-node N cli.py train-generator ...`, each a device or a share of the cores.

All processes draw the same random numbers for the whole batch and each keeps its part, so the batch, and with it
the result, is that of one process but for the order in which sums are taken. What runs over the batch (batch
norm, minibatch discrimination, means of features) is taken over all parts. In one process everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from angiosynth.errors import InputError


def rank() -> int:
    """This process's number, 0 for the one that logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun has started, if it has."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_batch(batch_size: int) -> None:
    """Refuse a batch that cannot be dealt out evenly.

    Raises:
        InputError: it cannot; the text names both numbers.
    """
    if batch_size % size():
        raise InputError(f"params.yaml: batch_size {batch_size} does not split evenly over {size()} processes; choose a multiple")


def part(whole: Tensor) -> Tensor:
    """This process's rows of what was drawn for the whole batch."""
    return whole[rank() :: size()]


def parallel(network: nn.Module) -> nn.Module:
    """The network with gradients averaged over the processes in its backward."""
    return DistributedDataParallel(network, forward_sync_buffers=False) if size() > 1 else network


def any_of(flag: bool) -> bool:
    """Whether it is true in any process."""
    if size() == 1:
        return flag
    flags = torch.tensor([float(flag)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


class _Sum(torch.autograd.Function):
    """Sum of a tensor over the processes; so is the gradient, since each process's result depends on all."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        del context
        return _summed(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        del context
        return _summed(gradient)


class _Rows(torch.autograd.Function):
    """The rows of all processes, one process after the other; each gets back the gradient of its own."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.own = len(rows)
        parts = [torch.empty_like(rows) for _ in range(size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)[rank() * context.own :][: context.own]


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def mean_over_all(values: Tensor) -> Tensor:
    """Mean of a tensor over the processes, differentiable; it is that of the whole batch where the parts are equal."""
    return _Sum.apply(values) / size() if size() > 1 else values  # type: ignore[no-untyped-call]


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, differentiable, in the order of the processes."""
    return _Rows.apply(rows) if size() > 1 else rows  # type: ignore[no-untyped-call]


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the whole batch, on processors as well (torch's own synchronised one needs GPUs)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or size() == 1:
            return super().forward(x)
        wide = x.float()
        moments = mean_over_all(torch.stack([wide.mean(dim=(0, 2, 3)), wide.square().mean(dim=(0, 2, 3))]))
        mean, variance = moments[0], moments[1] - moments[0].square()
        self._remember(mean.detach(), variance.detach(), size() * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)
