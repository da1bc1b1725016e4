"""Outbox folders in mlruns/outbox/: a journal of calls to a server, the position up to which it was sent, and sending.

A line counts as sent once the server has confirmed it. A line that was interrupted before that is sent again, which is harmless: MLflow
stores a metric once per key, step, time and value, and the store looks for an existing run or model before it creates one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from angiosynth.runtime.locks import lock
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.progress import say
from angiosynth.tracking.run import DataSource, StoreError
from angiosynth.tracking.store import LOCAL, STARTED_AS, MlflowStore, NotThereYetError

JOURNAL, SENT, RUN_ID, FILES = "journal.jsonl", "sent", "run_id", "files"


def outboxes(root: Path) -> Path:
    return Path(root) / "mlruns" / "outbox"


def waiting(root: Path) -> int:
    """Return the number of entries that have not been sent."""
    return sum(1 for folder in folders(outboxes(root)) for _ in lines(folder))


def send_all(folder: Path, store: MlflowStore, held: Path | None = None) -> Iterator[None]:
    """Send the outboxes of ended processes, and the one held by the caller; yields after each entry.

    Raises:
        StoreError: the server is unreachable; entries without confirmation are kept.
    """
    for box in folders(folder):
        if box == held:
            yield from _send(box, store)
        elif (claim := claimed(box)) is not None:
            with claim:
                yield from _send(box, store)
                if not list(lines(box)):
                    shutil.rmtree(box, ignore_errors=True)


def claimed(box: Path) -> TextIO | None:
    """Lock an outbox; None if a running process holds it, or if it has been sent meanwhile."""
    try:
        stream = (box / ".lock").open("w", encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        lock(stream.fileno())
    except OSError:
        stream.close()
        return None
    if not (box / ".lock").exists():
        stream.close()
        return None
    return stream


def _send(box: Path, store: MlflowStore) -> Iterator[None]:
    for end, entry in lines(box):
        call = entry.pop("call")
        try:
            _replay(box, store, call, entry)
        except NotThereYetError:
            return  # another outbox has to create the run first
        except StoreError as error:
            if error.away or call == "begin":
                raise
            say(f"tracking: the server refused {call}: {error}; see mlruns/outbox/refused.jsonl")
            with (box.parent / "refused.jsonl").open("a", encoding="utf-8") as refused:
                refused.write(json.dumps({"run": (box / RUN_ID).read_text(encoding="utf-8"), "call": call, **entry}) + "\n")
        write(box / SENT, str(end))
        yield


def _replay(box: Path, store: MlflowStore, call: str, entry: dict[str, Any]) -> None:
    named = (box / RUN_ID).read_text(encoding="utf-8")
    if call == "begin":
        write(box / RUN_ID, _begin(store, named, entry))
        return
    if call == "end_lost":
        store.end_lost(**entry)
        return
    run_id = store.resolve(named)
    if call == "settle":
        _settle(box / entry["path"], entry["local"], run_id)
    elif call == "log_file":
        store.log_file(run_id, box / entry["path"], entry["folder"])
    elif call == "log_model_folder":
        store.log_model_folder(run_id, entry["name"], box / entry["folder"], entry["step"], entry["register"], once=True)
    elif call == "log_input":
        store.log_input(run_id, DataSource(**entry["data"]), entry["source"], entry["profile"])
    elif call == "final":
        step = store.last_step(run_id, entry["values"])
        store.log_metrics(run_id, [(key, value, entry["timestamp"], step) for key, value in entry["values"].items()])
    elif call in ("log_metrics", "log_params", "set_tag", "close"):
        getattr(store, call)(run_id, **entry)


def _begin(store: MlflowStore, named: str, entry: dict[str, Any]) -> str:
    """Id of a run that started while the server was unreachable: an earlier run is resumed, otherwise one is created, exactly once."""
    known = entry.pop("known")
    if known and store.resume_run(known):
        return store.resolve(known)
    if not named.startswith(LOCAL):  # the earlier run was deleted
        return store.create_run(**entry)
    try:
        return store.resolve(named)
    except NotThereYetError:
        return store.create_run(**{**entry, "tags": {**entry["tags"], STARTED_AS: named}})


def _settle(lineage: Path, local: str, run_id: str) -> None:
    if lineage.is_file() and isinstance(known := read_json(lineage), dict) and known.get("run_id") == local:
        write_json(lineage, {**known, "run_id": run_id})


def folders(folder: Path) -> list[Path]:
    return sorted(box for box in folder.iterdir() if box.is_dir() and box.name[0] != ".") if folder.is_dir() else []


def lines(box: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield unsent entries, each with the journal's offset after it. An incomplete last line of a killed process is skipped."""
    journal, sent = box / JOURNAL, box / SENT
    try:
        stream = journal.open("rb")
    except FileNotFoundError:  # sent by another process meanwhile
        return
    with stream:
        stream.seek(int(sent.read_text()) if sent.is_file() else 0)
        while (line := stream.readline()).endswith(b"\n"):
            yield stream.tell(), json.loads(line)


def write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
