"""Networks as programs of torch.export: files that torch alone loads, without the code of the network."""

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
    """The files of a program's archive, whose list is plain."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [content, *(archive.read(name) for name in archive.namelist())]


FORMATS = {".pt2": Format("application/zip", unpack_program)}


def write_program(network: nn.Module, example: Tensor, free: dict[int, Any], path: Path) -> None:
    """Write a network as a program in inference mode.

    Args:
        network: on the CPU, takes one tensor.
        example: an input; its shape is used, no number of it is kept.
        free: axis -> `torch.export.Dim`, for axes of any length.
        path: ends in .pt2.
    """
    with warnings.catch_warnings(), torch.no_grad(), exported_through_memory():
        warnings.filterwarnings("ignore", message="No complete tensor found")
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=(free,))
        program.example_inputs = None
        torch.export.save(program, path)
