"""Runs on a server that may become unreachable: calls are appended to a journal on disk, and a thread sends them.

The training does not wait for answers. Entries that remain at the end of a process are sent by the next one, in the order in which the runs
started.

Why a journal of calls instead of a local SQLite store whose runs are copied to the server afterwards: MLflow's client has no copy function,
and `create_run` accepts no id. A copy would need the map of ids, the position and the search for earlier attempts that the journal has, and
also a comparison of every metric, file, input, model and registered version with the server. Curves would reach the server only at the end
of a run, and runs started on the server could not be continued locally. A line of the journal takes microseconds, a call to SQLite 6 to
20 ms.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.runtime.progress import say
from angiosynth.tracking.journal import FILES, JOURNAL, RUN_ID, claimed, lines, outboxes, send_all, write
from angiosynth.tracking.run import DataSource, MetricRow, StoreError
from angiosynth.tracking.store import LOCAL, MlflowStore, save_network

if TYPE_CHECKING:
    from torch import nn

AGAIN_S = 10.0  # between attempts to reach the server
PATIENCE_S = 30.0  # at the end of a run: maximum time without progress
Opener = Callable[[], MlflowStore]


class Outbox:
    """A `run.Store` in mlruns/outbox/ whose calls return at once. `id` starts with "local-" until the server has created the run."""

    def __init__(self, root: Path, opener: Opener, run_id: str = "", away: bool = False) -> None:
        self.id = run_id or f"{LOCAL}{uuid.uuid4().hex}"
        self._folder = outboxes(root) / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        new = self._folder.with_name(f".new-{self._folder.name}")  # under this name other processes ignore it until it is locked
        (new / FILES).mkdir(parents=True)
        self._claim = claimed(new)
        write(new / RUN_ID, self.id)
        self._journal = (new / JOURNAL).open("ab", buffering=0)
        new.rename(self._folder)
        self._writing = threading.Lock()  # system metrics come from another thread
        self._sender = _Sender(self._folder, opener, away)
        self._sender.start()

    def begin(self, known: str, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        """Create the run, or resume the known one, as soon as the server answers."""
        self._add("begin", known=known, experiment=experiment, name=name, tags=dict(tags), start_time=_now())

    def final(self, values: Mapping[str, float]) -> None:
        """Add final metrics, at its last step, to a run that another process has logged."""
        self._add("final", values=dict(values), timestamp=_now())

    def end_lost(self, parent: str, name: str) -> None:
        """End the run of a killed trial, or create it if it does not exist."""
        self._add("end_lost", parent=parent, name=name)

    def settle(self, lineage: Path) -> None:
        """Replace the local run id in the lineage file by the server's."""
        self._add("settle", path=os.path.relpath(lineage, self._folder), local=self.id)

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        self._add("log_metrics", rows=list(rows))

    def log_params(self, run_id: str, pairs: Sequence[tuple[str, str]]) -> None:
        self._add("log_params", pairs=list(pairs))

    def log_input(self, run_id: str, data: DataSource, source: str, profile: str) -> None:
        self._add("log_input", data=asdict(data), source=source, profile=profile)

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        self._add("log_file", path=self._copied(path), folder=folder)

    def log_model_folder(self, run_id: str, name: str, folder: Path, step: int, register: str | None) -> str:
        """Queue a model; returns "", since only the server can give its URI."""
        self._add("log_model_folder", name=name, folder=self._copied(folder), step=step, register=register)
        return ""

    def save_network(self, network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None:
        save_network(network, example, shapes, target)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._add("set_tag", key=key, value=value)

    def close(self, run_id: str, status: str) -> None:
        self._add("close", status=status, end_time=_now())

    def finish(self) -> None:
        """Wait until the remaining entries are sent; those that cannot be sent are kept, with a message."""
        ended = self._sender.finish()
        self._journal.close()
        self.id = (self._folder / RUN_ID).read_text(encoding="utf-8")
        if left := len(list(lines(self._folder))):
            say(f"tracking: {left} entries are kept in mlruns/outbox; the next stage or `python cli.py sync` sends them")
        elif ended:
            shutil.rmtree(self._folder)
        if ended and self._claim is not None:  # otherwise the thread still waits for an answer, and no other process may send the entry
            self._claim.close()

    def _add(self, call: str, **arguments: Any) -> None:
        line = json.dumps({"call": call, **arguments}).encode() + b"\n"
        try:
            with self._writing:
                self._journal.write(line)
        except OSError as error:
            raise StoreError(f"mlruns/outbox: {error.strerror}") from error
        self._sender.wake()

    def _copied(self, path: Path) -> str:
        """Copy a file or folder into the outbox, so that it does not change until it is sent; returns its relative path."""
        copy = Path(FILES) / uuid.uuid4().hex / path.name
        target = self._folder / copy
        try:
            target.parent.mkdir()
            shutil.copytree(path, target) if path.is_dir() else shutil.copyfile(path, target)
        except OSError as error:
            raise StoreError(f"mlruns/outbox: {error.strerror}") from error
        return copy.as_posix()


class _Sender(threading.Thread):
    """Thread that sends the outboxes, oldest first, at each new entry and every few seconds while the server does not answer."""

    def __init__(self, box: Path, opener: Opener, away: bool) -> None:
        super().__init__(daemon=True, name="tracking")  # daemon, so that the process can end even if the server never answers
        self._box, self._opener = box, opener
        self._asked = self._tried = 0
        self._moved = time.monotonic()
        self._news = threading.Condition()
        self._stopping, self._failing = False, away  # the first failure is reported, unless the caller has reported it

    def wake(self) -> None:
        with self._news:
            self._asked += 1
            self._news.notify_all()

    def finish(self) -> bool:
        """Try once more to send everything; False if the thread makes no progress for PATIENCE_S."""
        with self._news:
            self._asked += 1
            self._stopping, self._moved = True, time.monotonic()
            self._news.notify_all()
            while self._tried < self._asked and time.monotonic() - self._moved < PATIENCE_S:
                self._news.wait(1.0)
            ended = self._tried >= self._asked
        if ended:
            self.join()
        return ended

    def run(self) -> None:
        while True:
            with self._news:
                if self._tried >= self._asked and not self._stopping:
                    self._news.wait(AGAIN_S if self._failing else None)
                asked, stopping = self._asked, self._stopping
            self._attempt()
            with self._news:
                self._tried = asked
                self._news.notify_all()
                if stopping and asked == self._asked:
                    return

    def _attempt(self) -> None:
        try:
            for _ in send_all(self._box.parent, self._opener(), self._box):
                self._moved = time.monotonic()
        except StoreError as error:
            if not self._failing:
                say(f"tracking: the server does not answer, the work goes on and its record is kept here: {error}")
            self._failing = True
            return
        except Exception as error:  # if the thread ended, later entries would not be sent
            say(f"tracking: sending failed, the record is kept in mlruns/outbox: {type(error).__name__}: {error}")
            self._failing = True
            return
        if self._failing:
            say("tracking: the server answers again")
        self._failing = False


def _now() -> int:
    return time.time_ns() // 1_000_000
