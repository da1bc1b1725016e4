"""Record of one run: buffers curves, drops values that are not finite, tolerates failures of the store. Independent of MLflow."""

from __future__ import annotations

import copy
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from angiosynth.errors import InputError
from angiosynth.reading import MOST_PICTURE, read_bytes
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.runtime.secrets import without_secrets
from angiosynth.tracking.lineage import flat, names_someone, portable

if TYPE_CHECKING:
    from torch import nn

MetricRow = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step
FLUSH_EVERY_S = 10.0  # a call takes 6-20 ms regardless of its content
BUFFER = 1000  # values
LEAST_SIDE = 32  # pixels of a traced image
LONGEST_REASON = 300  # characters
TEXTS = (".csv", ".html", ".json", ".md", ".txt", ".yaml")  # artifacts that are searched for names


class StoreError(Exception):
    """The tracking store did not answer (`away`: it may answer later) or refused the call."""

    def __init__(self, reason: str, away: bool = True) -> None:
        super().__init__(reason)
        self.away = away


@dataclass(frozen=True)
class DataSource:
    """Data that a training read: name, digest, path (recorded relative to the root) and number of rows."""

    name: str
    digest: str
    path: str
    rows: int


@dataclass(frozen=True)
class RunSpec:
    """Description of a run at its start.

    Attributes:
        experiment: one of store.EXPERIMENTS.
        name: name of the run.
        stage: the DVC stage, e.g. "train-generator@NAME"; used as a tag and for the name of the lineage file.
        settings: nested mappings or settings sections, logged as dotted parameters.
        data: the training data, logged as input of the run.
        tags: further tags.
        parent: run id of the parent run.
    """

    experiment: str
    name: str
    stage: str
    settings: Mapping[str, Any]
    data: DataSource | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None


class Store(Protocol):
    """Calls of a run to a tracking system. Each may raise StoreError."""

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow]) -> None: ...
    def log_params(self, run_id: str, pairs: Sequence[tuple[str, str]]) -> None: ...
    def log_input(self, run_id: str, data: DataSource, source: str, profile: str) -> None: ...
    def log_file(self, run_id: str, path: Path, folder: str) -> None: ...
    def log_model_folder(self, run_id: str, name: str, folder: Path, step: int, register: str | None) -> str: ...
    def save_network(self, network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None: ...
    def set_tag(self, run_id: str, key: str, value: str) -> None: ...
    def close(self, run_id: str, status: str) -> None: ...


class Run:
    """A Recorder for one run of the store; without a store it records nothing and its id is "".

    Metrics are buffered and sent together. Values that are not finite are counted and reported at the end instead of being sent. A failure
    of recording is reported in one line and stops nothing, because a training is worth more than its record.
    """

    def __init__(self, store: Store | None, run_id: str, root: Path) -> None:
        self.id = run_id
        self.dropped: Counter[str] = Counter()
        self._store = store
        self._root = root
        self._buffer: list[MetricRow] = []
        self._sent = time.monotonic()
        self._last_step = 0
        self.failed = False  # the store refused something

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a training step."""
        if self._store is None:
            return
        now = time.time_ns() // 1_000_000
        self._last_step = max(self._last_step, step)
        for key, value in values.items():
            number = float(value)
            if math.isfinite(number):
                self._buffer.append((key, number, now, step))
            else:
                self.dropped[key] += 1
        if len(self._buffer) >= BUFFER or time.monotonic() - self._sent > FLUSH_EVERY_S:
            self.flush()

    def machine(self, values: Mapping[str, float], step: int) -> None:
        """Record system metrics; may be called from another thread than the other methods."""
        store, now = self._store, time.time_ns() // 1_000_000
        rows = [(key, float(value), now, step) for key, value in values.items() if math.isfinite(value)]
        if store is not None:
            self._guarded("the machine's load", lambda: store.log_metrics(self.id, rows))

    def final(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record final metrics at the last step, so that they are the displayed values, and send them at once."""
        self.metrics(values, self._last_step if step is None else step)
        self.flush()

    def flush(self) -> None:
        """Send the buffer; rows that could not be sent are kept for the next attempt."""
        store, rows = self._store, self._buffer
        self._sent = time.monotonic()
        if store is not None and rows and self._guarded("metrics", lambda: store.log_metrics(self.id, rows)):
            self._buffer = []

    def tag(self, key: str, value: str) -> None:
        """Set a tag, after removing local paths and patient names."""
        store = self._store
        if store is not None:
            self._guarded(f"tag {key}", lambda: store.set_tag(self.id, key, portable(value, self._root)))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file to the run's artifacts. Text files that contain patient names or local folders are refused."""
        store = self._store
        if store is None:
            return

        def send() -> None:
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file")
            if path.suffix in TEXTS and names_someone(read_bytes(path, MOST_PICTURE).decode("utf-8", "replace"), self._root):
                raise InputError(f"{path}: names a patient or a folder of this machine, and stays here")
            store.log_file(self.id, path, folder)

        self._guarded(path.name, send)

    def log_model(self, module: nn.Module, example: np.ndarray[Any, Any], name: str, register: str | None = None) -> str:
        """Log a network as a torch.export program without pickle, for any batch size and, for images, any sides.

        Args:
            module: maps one float32 tensor, (n, channel, x, y) or (n, latent), to one tensor.
            example: an input, of which only the shape is used. Noise is traced and stored instead, since a patch belongs to a patient.
            name: name of the model in the run.
            register: name of a registered model of which this becomes a version.

        Returns:
            URI of the model; "" if nothing is recorded.
        """
        store = self._store
        if store is None:
            return ""
        logged: list[str] = []

        def send() -> None:
            network, noise, shapes = traceable(module, example.shape)
            with scratch_folder(self._root / ".work" / "model") as folder:  # the system's temporary folder is often small
                target = folder / "model"
                store.save_network(network, noise, shapes, target)
                logged.append(store.log_model_folder(self.id, name, target, self._last_step, register))

        self._guarded(f"model {name}", send)
        return logged[0] if logged else ""

    def describe(self, settings: Mapping[str, Any], data: DataSource | None, must: bool = True) -> None:
        """Log the settings as dotted parameters and the data as input.

        Raises:
            StoreError: recording fails and `must` is set; at the start of a stage no work is lost by that.
        """
        store = self._store
        if store is None:
            return

        def send() -> None:
            store.log_params(self.id, list(flat(settings, self._root)))
            if data is not None:
                shown = replace(data, name=portable(data.name, self._root), path=portable(data.path, self._root))
                store.log_input(self.id, shown, json.dumps({"uri": shown.path}), json.dumps({"num_rows": data.rows}))

        send() if must else self._guarded("settings", send)

    def end(self, status: str, reason: str) -> None:
        """Send the remaining metrics and close the run."""
        store = self._store
        if store is None:
            return
        self.flush()
        if self.dropped:
            counts = ", ".join(f"{key} {count}" for key, count in sorted(self.dropped.items()))
            say(f"tracking: values that are not finite were not logged: {counts}")
            self.tag("not_finite", counts)
        if reason:
            self.tag("failure", reason)
        self._guarded("the run's end", lambda: store.close(self.id, status))

    def _guarded(self, subject: str, send: Callable[[], Any]) -> bool:
        """Call `send` and return whether it succeeded. An unreachable store is reported once, other errors each time."""
        try:
            send()
        except StoreError as error:
            if not self.failed:
                say(f"tracking: the store does not answer, the work goes on without it: {error}")
            self.failed = True
            return False
        except Exception as error:  # from torch, MLflow or a full disk; must not stop the training
            say(f"tracking: {subject} not recorded, the work goes on without: {one_line(error)}")
            self.failed = True
            return False
        return True


def one_line(error: BaseException) -> str:
    """Return the first line of an exception's message, with its type unless the exception is defined by this project."""
    first = next((line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()), "")
    if isinstance(error, InputError | StoreError):
        return first
    return f"{type(error).__name__}: {first}"[:LONGEST_REASON] if first else type(error).__name__


def traceable(module: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, np.ndarray[Any, Any], list[tuple[int, ...]]]:
    """Make inputs of torch.export: a copy of the network in inference mode on the CPU, noise (2, ...), and the shapes of input and output.

    In the shapes -1 marks axes of free length: the batch, and x and y of images. The noise has two samples with sides of at least 32,
    because export fixes axes of length 1, and the four poolings of the U-net would reduce 16 pixels to 1.
    """
    import torch

    network = copy.deepcopy(module).cpu().eval()  # a copy, so that the original keeps its device and mode
    noise = np.random.default_rng(0).uniform(-1, 1, (2, *shape[1:2], *(max(LEAST_SIDE, side) for side in shape[2:]))).astype(np.float32)
    with torch.no_grad():
        out = tuple(network(torch.from_numpy(noise)).shape)
    images = len(shape) > 2
    return network, noise, [tuple(-1 if axis == 0 or (axis > 1 and images) else n for axis, n in enumerate(dims)) for dims in (shape, out)]
