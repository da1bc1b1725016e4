"""Which device computes, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn


def device() -> torch.device:
    """The first GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def place(network: nn.Module, where: torch.device) -> None:
    """Move a network to the device, its convolutions' weights with the channels last: measured faster for both GANs and U-net."""
    if any(parameter.device != where for parameter in network.parameters()):
        network.to(where)
    for parameter in network.parameters():
        if parameter.dim() == 4:  # not by Module.to, which tensors without content do not stand
            # Not `contiguous`, which leaves the strides of one input channel as they are: other strides, other rounding.
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def bfloat16_is_native(where: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if where.type == "cuda":
        return torch.cuda.get_device_capability(where) >= (8, 0)
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def autocast(precision: str, where: torch.device) -> AbstractContextManager[None]:
    """Mixed precision: `bfloat16`, `float32`, or `auto` for bfloat16 where the hardware has it."""
    use = precision == "bfloat16" or (precision == "auto" and bfloat16_is_native(where))
    context: AbstractContextManager[None] = torch.autocast(where.type, torch.bfloat16, enabled=use)
    return context
