"""Resume files of trainings (written atomically, verified by a digest, the last two kept), and files of weights.

A training that is killed at any point continues from its newest valid file and ends with the same weights as an uninterrupted one. The
files are not outputs of the pipeline: they are stored under `.work/<stage>/<digest of settings, data and code>/` and removed when the stage
is done.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.reading import open_file, read_bytes
from angiosynth.runtime.archives import check_archive
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.progress import say

KEEP = 2  # number of resume files
ROOM = 8192  # overhead of a file of weights, in bytes per tensor
ENTRIES = 8  # archive entries of a file of weights per tensor
DIGEST_BYTES = 32
MOST_STATE = 1 << 38  # bytes of a resume file; written by this project, so this only guards against endless files


def save_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Write tensors by name. The file is serialised in memory first, because torch's file writer raises no OSError on a full disk.

    Raises:
        OSError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    path.write_bytes(buffer.getbuffer())


def read_weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors of a network that `save_weights` wrote. Files with any other content are refused.

    Args:
        path: the file.
        wanted: `state_dict` of the network, which determines names, shapes and dtypes.

    Raises:
        InputError: the file is missing, not a regular file, damaged, of another size than such weights, of another network, or contains NaN
            or infinity. The message names the file.
    """
    length = sum(tensor.numel() * tensor.element_size() for tensor in wanted.values())
    try:
        with open_file(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if not length <= size <= 2 * length + ROOM * (len(wanted) + 1):
                raise ValueError(f"{size:,} bytes for {length:,} of weights")
            archive = check_archive(stream, ENTRIES * (len(wanted) + 1))
            if any(info.compress_type or info.compress_size != info.file_size for info in archive.infolist()):
                raise ValueError("packed entries, which torch does not write")
            stream.seek(0)
            weights = torch.load(stream, map_location="cpu", weights_only=True)
        _check_weights(weights, wanted)
    except InputError:
        raise
    except Exception as error:  # torch and the pickle inside raise various exceptions for a damaged file
        reason = (str(error).splitlines() or [""])[0][:160] or type(error).__name__
        raise InputError(f"{path}: missing, damaged or of other settings ({reason}); run `dvc repro` to train it") from error
    return dict(weights)


def _check_weights(weights: Any, wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names, shapes and dtypes match and all numbers are finite."""
    if not isinstance(weights, dict) or weights.keys() != wanted.keys():
        raise ValueError("other names")
    for name, like in wanted.items():
        tensor = weights[name]
        plain = isinstance(tensor, Tensor) and tensor.device.type == "cpu" and tensor.layout == torch.strided
        if not plain or tensor.shape != like.shape or tensor.dtype != like.dtype:
            raise ValueError(f"{name} has another shape or type")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity")


@contextmanager
def exported_through_memory() -> Iterator[None]:
    """Let torch.export.save serialise in memory within this context, because its file writer aborts the process on a full disk.

    Stack traces are removed from the exported program, since they contain paths of this machine.
    """
    direct = torch.export.save

    def save(program: Any, path: str | Path) -> None:
        buffer = io.BytesIO()
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)
        direct(program, buffer)
        Path(path).write_bytes(buffer.getbuffer())

    torch.export.save = save  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.export.save = direct


class Checkpoints:
    """Resume files of one training, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state at `step` and delete all but the last two files."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        payload = buffer.getvalue()
        with whole_file(self.folder / f"step-{step:08d}.ckpt") as temporary, temporary.open("wb") as stream:
            stream.write(hashlib.sha256(payload).digest())
            stream.write(payload)
        for old in self._files()[:-KEEP]:
            old.unlink()

    def keep(self, step: int, weights: Mapping[str, Any]) -> None:
        """Write weights that are needed after the training. Training a step again overwrites its weights."""
        with whole_file(self.folder / f"kept-{step:08d}.pt") as temporary:
            save_weights(temporary, weights)

    def kept(self) -> dict[int, Path]:
        """Return the files written by `keep`, by step."""
        return {int(path.stem.removeprefix("kept-")): path for path in sorted(self.folder.glob("kept-*.pt"))}

    def load(self) -> dict[str, Any] | None:
        """Read the newest valid state to the CPU, or None. A damaged file is reported and deleted, and the previous one is used."""
        for path in reversed(self._files()):
            content = read_bytes(path, MOST_STATE)
            payload = content[DIGEST_BYTES:]
            if hashlib.sha256(payload).digest() == content[:DIGEST_BYTES]:
                state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
                return state
            say(f"{path}: damaged, the checkpoint before it is used")
            path.unlink(missing_ok=True)  # another process of the training may have done it
        return None

    def clear(self) -> None:
        """Remove the folder after the training; its result is stored elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.ckpt"))
