"""Write networks as programs of torch.export, which torch can load without the code of the network."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from angiosynth.release.formats import Format
from angiosynth.runtime.checkpoint import exported_through_memory


def unpack_program(content: bytes) -> list[bytes]:
    """Return the archive of a program, whose list of files is uncompressed, and the unpacked files."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [content, *(archive.read(name) for name in archive.namelist())]


FORMATS = {".pt2": Format("application/zip", unpack_program)}


def write_program(network: nn.Module, example: Tensor, free: dict[int, Any], path: Path) -> None:
    """Write a network as a program in inference mode.

    Args:
        network: a network on the CPU with one input tensor.
        example: an input; only its shape is used.
        free: axis -> `torch.export.Dim`, for axes of variable length.
        path: file name that ends with .pt2.
    """
    with warnings.catch_warnings(), torch.no_grad(), exported_through_memory():
        warnings.filterwarnings("ignore", message="No complete tensor found")
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=(free,))
        program.example_inputs = None
        torch.export.save(program, path)
