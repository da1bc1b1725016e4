"""Protocol by which training loops report numbers, independent of a tracking system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Recorder(Protocol):
    """Receives curves and files of one training. Implementations buffer, so calls are cheap."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a training step."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file (a figure, a card) with the record of the training."""


class NullRecorder:
    """Records nothing."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        del values, step

    def artifact(self, path: Path, folder: str = "") -> None:
        del path, folder


class ListRecorder:
    """Stores everything in memory, for tests and for curves that are written next to a model."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.files: list[tuple[Path, str]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))

    def artifact(self, path: Path, folder: str = "") -> None:
        self.files.append((path, folder))
