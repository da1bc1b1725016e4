"""Weights of networks in a package, as safetensors, which can be read without executing code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save_file
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.reading import MIB, read_bytes
from angiosynth.release.formats import Format

FORMATS = {".safetensors": Format("application/octet-stream")}
AGAIN = "get the package again"


def write_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the state of a network on any device."""
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, path)


def read_weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read weights to the CPU.

    Args:
        path: a .safetensors file.
        wanted: tensors with the required names, shapes and dtypes; those of a network on device "meta" take no memory.

    Raises:
        InputError: the file is missing, damaged, longer than such weights, or contains others.
    """
    length = sum(tensor.numel() * tensor.element_size() for tensor in wanted.values())
    try:
        content = read_bytes(path, length + MIB)  # the header has some kilobytes
        weights: dict[str, Tensor] = load(content) if len(content) >= length else {}
    except InputError:
        raise
    except Exception as error:  # safetensors raises various exceptions for a damaged file
        raise InputError(f"{path}: missing or damaged; {AGAIN}") from error
    alike = weights.keys() == wanted.keys() and all(
        tensor.shape == wanted[name].shape and tensor.dtype == wanted[name].dtype and bool(torch.isfinite(tensor).all())
        for name, tensor in weights.items()
    )
    if not alike:
        raise InputError(f"{path}: damaged, or not those of the settings beside it; {AGAIN}")
    return weights
