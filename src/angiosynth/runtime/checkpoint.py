"""Resume files: whole or absent, checked when read, the last two kept.

A training killed anywhere goes on from its newest sound file to the same weights as one never killed. The files are no
pipeline outputs; they lie under `.work/<stage>/<digest of settings, data and code>/` and go when the stage is done.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from angiosynth.runtime.output import whole_file
from angiosynth.runtime.progress import say

KEEP = 2
DIGEST_BYTES = 32


def save_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Write tensors by name, through memory: torch's own writer of files raises no OSError on a full disk.

    Raises:
        OSError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    path.write_bytes(buffer.getbuffer())


@contextmanager
def exported_through_memory() -> Iterator[None]:
    """Within, torch.export.save writes a file from memory. Its own writer ends the process (abort) where the disk is full.

    The program keeps no line of the code that it was traced from: these come with the paths of this machine.
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
    """The resume files of one training in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state at `step` and drop all but the last two files."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        payload = buffer.getvalue()
        with whole_file(self.folder / f"step-{step:08d}.ckpt") as temporary, temporary.open("wb") as stream:
            stream.write(hashlib.sha256(payload).digest())
            stream.write(payload)
        for old in self._files()[:-KEEP]:
            old.unlink()

    def keep(self, step: int, weights: Mapping[str, Any]) -> None:
        """Write weights that are to outlive the training; those of a step that is trained again are written over."""
        with whole_file(self.folder / f"kept-{step:08d}.pt") as temporary:
            save_weights(temporary, weights)

    def kept(self) -> dict[int, Path]:
        """Step -> file of the weights that were kept."""
        return {int(path.stem.removeprefix("kept-")): path for path in sorted(self.folder.glob("kept-*.pt"))}

    def load(self) -> dict[str, Any] | None:
        """The newest sound state, or None. A damaged file is named, dropped, and the one before it is used."""
        for path in reversed(self._files()):
            content = path.read_bytes()
            payload = content[DIGEST_BYTES:]
            if hashlib.sha256(payload).digest() == content[:DIGEST_BYTES]:
                state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
                return state
            say(f"{path}: damaged, the checkpoint before it is used")
            path.unlink()
        return None

    def clear(self) -> None:
        """Remove the folder: the training is done and its result is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.ckpt"))
