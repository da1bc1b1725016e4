"""The protocol by which training loops report their numbers, independent of a tracking system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Recorder(Protocol):
    """Takes curves and files of one training. Implementations buffer; a call is cheap."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a training step."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file (a figure, a card) with the training's record."""


class NullRecorder:
    """Records nothing."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        del values, step

    def artifact(self, path: Path, folder: str = "") -> None:
        del path, folder


class ListRecorder:
    """Keeps everything in memory: for tests and for curves written beside a model."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.files: list[tuple[Path, str]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))

    def artifact(self, path: Path, folder: str = "") -> None:
        self.files.append((path, folder))
