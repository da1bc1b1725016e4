"""Device and precision of torch's computations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch
from torch import nn

from angiosynth.errors import InputError

# Values of ONEDNN_MAX_CPU_ISA that leave bfloat16 to be emulated, many times slower than float32.
WITHOUT_BFLOAT16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})

_gpu_is_left_out = ContextVar("_gpu_is_left_out", default=False)
_named_by_user: ContextVar[str] = ContextVar("_named_by_user", default="")


def device() -> torch.device:
    """Return the device to use: the CPU within `without_gpu`, else the one named by `on_device`, else the first GPU, else the CPU."""
    return torch.device("cpu") if _gpu_is_left_out.get() else _processor()


def _processor() -> torch.device:
    return torch.device(_named_by_user.get() or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Compute on "cpu", "cuda" or "mps" (Apple's GPUs) within this context; "" and "auto" leave the choice to `device`.

    Raises:
        InputError: this machine, or this build of torch, has no such device.
    """
    available: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in available and not available[name]():
        kind = "GPU of NVIDIA (CUDA)" if name == "cuda" else "GPU of Apple (MPS)"
        raise InputError(
            f"--device {name}: torch {torch.__version__} has no {kind} here; give --device cpu, or install a torch build for it"
        )
    token = _named_by_user.set("" if name == "auto" else name)
    try:
        yield
    finally:
        _named_by_user.reset(token)


@contextmanager
def without_gpu() -> Iterator[None]:
    """Compute on the CPU within this context, but in the GPU's precision for `auto`: for fake tensors, which cannot be moved to a GPU."""
    token = _gpu_is_left_out.set(True)
    try:
        yield
    finally:
        _gpu_is_left_out.reset(token)


def place(network: nn.Module, target: torch.device) -> None:
    """Move a network to a device in place, with convolution weights in channels-last order, measured faster for GANs and U-net."""
    if any(parameter.device != target for parameter in network.parameters()):
        network.to(target)
    for parameter in network.parameters():
        if parameter.dim() == 4:  # set one by one, because Module.to with a memory format fails for fake tensors
            # Not `contiguous`: for a single input channel it keeps the old strides, and strides affect rounding.
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def bfloat16_is_native(target: torch.device) -> bool:
    """Return whether the device has bfloat16 matrix products in hardware, and ONEDNN_MAX_CPU_ISA does not forbid them."""
    if target.type == "cuda":
        return torch.cuda.get_device_capability(target) >= (8, 0)
    if target.type == "mps":
        return False
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16
    return not limited and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def autocast(precision: str, target: torch.device) -> AbstractContextManager[None]:
    """Context of mixed precision: "bfloat16", "float32", or "auto" for bfloat16 if the hardware supports it."""
    processor = _processor() if _gpu_is_left_out.get() else target
    use = precision == "bfloat16" or (precision == "auto" and bfloat16_is_native(processor))
    context: AbstractContextManager[None] = torch.autocast(target.type, torch.bfloat16, enabled=use)
    return context
