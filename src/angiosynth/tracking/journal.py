"""The folders in mlruns/outbox/: a journal of calls for a server, the position up to which they were sent, and sending them.

A line counts as sent once the server has confirmed it; one that was cut off between the two is sent again, which changes nothing: MLflow
keeps a metric once by its key, step, time and value, and the store looks before it makes a run or a model.
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
    """How many entries have not been sent."""
    return sum(1 for folder in folders(outboxes(root)) for _ in lines(folder))


def send_all(folder: Path, store: MlflowStore, held: Path | None = None) -> Iterator[None]:
    """Send the outboxes whose processes have ended, and the one that the caller holds; yields after each entry.

    Raises:
        StoreError: the server went away; entries that it has not confirmed stay.
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
    """The outbox's lock; None where a living process holds it or it has been sent meanwhile."""
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
            return  # the run it belongs to is another outbox's to make
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
    """The id of the run that began while the server was away: an earlier one that is resumed, or one that is created, but once."""
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
    """Unsent entries, each with the journal's offset after it. A line that a kill cut short is left out."""
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
