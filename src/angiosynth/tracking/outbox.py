"""A run on a server that may go away: its calls are appended to a journal on disk, and a thread sends them.

The training waits for no answer. Entries left at the end of a process are sent by the next one, in the order in which the runs began.

Why a journal of calls, and not a local SQLite store whose runs are copied to the server afterwards: MLflow's client has no copy, and
`create_run` takes no id, so that a copy needs the map of ids, the position reached and the search for earlier tries that are here, and in
addition a comparison of every metric, file, input, model and registered version with the server's. Curves would reach the server only
when a run ends, while runs that were begun there could not go on here. And a line of the journal takes microseconds, a call to SQLite
6 to 20 ms.
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

AGAIN_S = 10.0  # between two looks at a server that is away
PATIENCE_S = 30.0  # at the end of a run, without a line sent
Opener = Callable[[], MlflowStore]


class Outbox:
    """run.Store in mlruns/outbox/: every call returns at once. `id` is the server's, or begins with "local-" until it has made the run."""

    def __init__(self, root: Path, opener: Opener, run_id: str = "", away: bool = False) -> None:
        self.id = run_id or f"{LOCAL}{uuid.uuid4().hex}"
        self._folder = outboxes(root) / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        new = self._folder.with_name(f".new-{self._folder.name}")  # nobody takes it for one that was left before it is claimed
        (new / FILES).mkdir(parents=True)
        self._claim = claimed(new)
        write(new / RUN_ID, self.id)
        self._journal = (new / JOURNAL).open("ab", buffering=0)
        new.rename(self._folder)
        self._writing = threading.Lock()  # the machine's load comes from another thread
        self._sender = _Sender(self._folder, opener, away)
        self._sender.start()

    def begin(self, known: str, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        """Have the run made, or the known one set running, as soon as the server answers."""
        self._add("begin", known=known, experiment=experiment, name=name, tags=dict(tags), start_time=_now())

    def final(self, values: Mapping[str, float]) -> None:
        """End metrics of a run that others have logged, at its last step."""
        self._add("final", values=dict(values), timestamp=_now())

    def end_lost(self, parent: str, name: str) -> None:
        """End a killed trial's run, or make it."""
        self._add("end_lost", parent=parent, name=name)

    def settle(self, lineage: Path) -> None:
        """Where the lineage file names the run as it was called here, let it name the server's."""
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
        """The model's URI is the server's to give: "" here."""
        self._add("log_model_folder", name=name, folder=self._copied(folder), step=step, register=register)
        return ""

    def save_network(self, network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None:
        save_network(network, example, shapes, target)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._add("set_tag", key=key, value=value)

    def close(self, run_id: str, status: str) -> None:
        self._add("close", status=status, end_time=_now())

    def finish(self) -> None:
        """Wait while the server takes the remaining entries; those that it does not take stay, with a message."""
        ended = self._sender.finish()
        self._journal.close()
        self.id = (self._folder / RUN_ID).read_text(encoding="utf-8")
        if left := len(list(lines(self._folder))):
            say(f"tracking: {left} entries are kept in mlruns/outbox; the next stage or `python cli.py sync` sends them")
        elif ended:
            shutil.rmtree(self._folder)
        if ended and self._claim is not None:  # else the thread waits for an answer still: nobody else shall send the same meanwhile
            self._claim.close()

    def _add(self, call: str, **words: Any) -> None:
        line = json.dumps({"call": call, **words}).encode() + b"\n"
        try:
            with self._writing:
                self._journal.write(line)
        except OSError as error:
            raise StoreError(f"mlruns/outbox: {error.strerror}") from error
        self._sender.wake()

    def _copied(self, path: Path) -> str:
        """A copy that stays as it is until it is sent, by its place in the outbox."""
        copy = Path(FILES) / uuid.uuid4().hex / path.name
        target = self._folder / copy
        try:
            target.parent.mkdir()
            shutil.copytree(path, target) if path.is_dir() else shutil.copyfile(path, target)
        except OSError as error:
            raise StoreError(f"mlruns/outbox: {error.strerror}") from error
        return copy.as_posix()


class _Sender(threading.Thread):
    """Sends the outboxes, oldest first: at each new entry, and every few seconds while the server does not answer."""

    def __init__(self, box: Path, opener: Opener, away: bool) -> None:
        super().__init__(daemon=True, name="tracking")  # a process ends although a server never answers
        self._box, self._opener = box, opener
        self._asked = self._tried = 0
        self._moved = time.monotonic()
        self._news = threading.Condition()
        self._stopping, self._failing = False, away  # the first failure is said, if it has not been already

    def wake(self) -> None:
        with self._news:
            self._asked += 1
            self._news.notify_all()

    def finish(self) -> bool:
        """Try once more to send all; False where the thread is not done with that in good time."""
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
        except Exception as error:  # a thread that ends would leave all that follows unsent
            say(f"tracking: sending failed, the record is kept in mlruns/outbox: {type(error).__name__}: {error}")
            self._failing = True
            return
        if self._failing:
            say("tracking: the server answers again")
        self._failing = False


def _now() -> int:
    return time.time_ns() // 1_000_000
