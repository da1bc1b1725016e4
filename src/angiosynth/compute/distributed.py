"""Data-parallel training on several processes: `torchrun --nproc-per-node N cli.py train-generator ...`, one per GPU or group of cores.

Every process draws the random numbers of the whole batch from the same seed and keeps only its rows, so the result equals that of a single
process except for the order of sums. Operations across the batch (batch norm, minibatch discrimination, means of features) include the rows
of all processes. In a single process every function of this module is the identity.
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
    """Return the number of this process; process 0 logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the process group of torchrun, if torchrun started this process."""
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
    """Check that a batch splits evenly over the processes.

    Raises:
        InputError: it does not; the message states both numbers.
    """
    if batch_size % world_size():
        raise InputError(f"params.yaml: batch_size {batch_size} does not split evenly over {world_size()} processes; choose a multiple")


def local_rows(batch: Tensor) -> Tensor:
    """Return this process's rows of a tensor (n, ...) drawn for the whole batch: every `world_size()`-th row, starting at `rank()`."""
    return batch[rank() :: world_size()]


def parallel(network: nn.Module) -> nn.Module:
    """Wrap a network so that `backward` averages its gradients over the processes."""
    return DistributedDataParallel(network, forward_sync_buffers=False) if world_size() > 1 else network


def any_of(flag: bool) -> bool:
    """Return whether the flag is set in any process. All processes must call this."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([float(flag)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


class _Sum(torch.autograd.Function):
    """Sum of a tensor over the processes. Gradients are summed too, because the result of every process depends on every input."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        del context
        return _summed(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        del context
        return _summed(gradient)


class _Rows(torch.autograd.Function):
    """Concatenate the rows of all processes in order of rank; `backward` returns the gradient of this process's rows."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.count = len(rows)
        gathered_rows = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(gathered_rows, rows.contiguous())
        return torch.cat(gathered_rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)[rank() * context.count :][: context.count]


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def mean_over_all(values: Tensor) -> Tensor:
    """Average a tensor over the processes, differentiably. A mean over rows becomes that of the whole batch, as all have equal counts."""
    return _Sum.apply(values) / world_size() if world_size() > 1 else values  # type: ignore[no-untyped-call]


def gathered(rows: Tensor) -> Tensor:
    """Return the rows (n, ...) of all processes in order of rank, differentiable."""
    return _Rows.apply(rows) if world_size() > 1 else rows  # type: ignore[no-untyped-call]


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the rows of all processes, also on CPUs (torch's SyncBatchNorm needs GPUs)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        wide = x.float()
        moments = mean_over_all(torch.stack([wide.mean(dim=(0, 2, 3)), wide.square().mean(dim=(0, 2, 3))]))
        mean, variance = moments[0], (moments[1] - moments[0].square()).clamp(min=0)  # a difference of rounded numbers may be negative
        self._update_running(mean.detach(), variance.detach(), world_size() * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * count / (count - 1), weight)
