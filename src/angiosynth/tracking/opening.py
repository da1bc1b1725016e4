"""Open the tracking store: its URI, its experiments, and the outbox that replaces an unreachable server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.reading import read_text
from angiosynth.runtime.progress import say
from angiosynth.tracking.databases import alone_at, driven, file_location, is_postgres, make_whole, sqlite_uri, wait_for
from angiosynth.tracking.outbox import Outbox
from angiosynth.tracking.run import Store, StoreError
from angiosynth.tracking.store import EXPERIMENTS, MlflowStore, create_tables, or_store_error


def tracking_uri(root: Path) -> str:
    """Return the URI of the tracking store: MLFLOW_TRACKING_URI if set, else the SQLite file under `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip() or sqlite_uri(Path(root).resolve() / "mlruns" / "mlflow.db")


def tracking_on() -> bool:
    """Return whether runs are recorded; False with ANGIOSYNTH_TRACKING=off, in which case mlflow is not imported."""
    return os.environ.get("ANGIOSYNTH_TRACKING", "").lower() != "off"


def remote(root: Path) -> bool:
    """Return whether the store is a server, which may be unreachable for a while."""
    uri = tracking_uri(root)
    return "databricks" in uri or ("://" in uri and not uri.startswith(("sqlite", "file:")))


def open_store(root: Path) -> MlflowStore:
    """Open the store and create its experiments, in one process at a time, since MLflow's migrations fail if two create one database."""
    uri = tracking_uri(root)
    if os.environ.get("MLFLOW_TRACKING_URI") and not is_postgres(uri):
        with or_store_error():
            wait_for(uri, "MLFLOW_TRACKING_URI")
            store = MlflowStore(uri)
        store.ensure_experiments(None)
        return store
    named = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT")  # as in `mlflow server`; a database stores no files
    with or_store_error(), alone_at(uri, root / "mlruns", "mlflow"):
        location = named.rstrip("/") if named else file_location(root.resolve() / "mlruns" / "artifacts")
        make_whole(uri, lambda new: create_tables(new, location))
        wait_for(uri, _named(root))
        store = MlflowStore(driven(uri))
        store.ensure_experiments(location)
    return store


def open_if_there(root: Path) -> MlflowStore | None:
    """Open the store; None if it is a server that is unreachable."""
    try:
        return open_store(root)
    except StoreError as error:
        if error.away and remote(root):
            return None
        raise


def begun(root: Path, resume: Path | None, experiment: str, name: str, labels: Mapping[str, str]) -> tuple[Store, str, bool]:
    """Start or resume a run; returns store, run id, and whether an earlier run, whose id is in the file `resume`, is resumed."""
    known = read_text(resume) if resume is not None and resume.is_file() else ""
    if experiment not in EXPERIMENTS:
        raise InputError(f"{experiment}: no such experiment; take one of {', '.join(EXPERIMENTS)}")
    try:
        store = open_store(root)
        goes_on = bool(known) and store.resume_run(known)
        run_id = store.resolve(known) if goes_on else store.create_run(experiment, name, labels)
    except StoreError as error:
        if not (error.away and remote(root)):
            raise
        say(f"tracking: the server does not answer, the run is kept in mlruns/outbox until it does: {error}")
        outbox = Outbox(root, lambda: open_store(root), known, away=True)
        outbox.begin(known, experiment, name, labels)
        return outbox, outbox.id, False
    return (Outbox(root, lambda: open_store(root), run_id) if remote(root) else store), run_id, goes_on


def _named(root: Path) -> str:
    return "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else str(root / "mlruns" / "mlflow.db")


def later(root: Path, run_id: str, entry: Callable[[Outbox], None]) -> None:
    """Store an entry for an existing run in an outbox until the server answers."""
    outbox = Outbox(root, lambda: open_store(root), run_id, away=True)
    entry(outbox)
    outbox.finish()


@contextmanager
def or_input_error(root: Path) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        if error.away and remote(root):
            raise InputError(
                f"MLFLOW_TRACKING_URI: no answer ({error}); start the server, mend the address, or see docs/team.md"
            ) from error
        raise InputError(
            f"{_named(root)}: tracking store refused ({error}); mend or move it away, or set ANGIOSYNTH_TRACKING=off"
        ) from error


def look_up(root: Path, uri: str) -> tuple[MlflowStore, str]:
    """Open the store and find the run of "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS"; returns both.

    Raises:
        InputError: the store cannot be opened, or the run or model does not exist.
    """
    with or_input_error(root):
        store = open_store(root)
    with or_none_such(uri):
        return store, store.run_behind(uri)


@contextmanager
def or_none_such(uri: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise InputError(f"{uri}: the tracking store has none such ({error}); look it up in `make ui`") from error
