"""MLflow runs of stages: curves, samples, models and the data they came from.

The client is used directly instead of `mlflow.start_run`: no global state, and no user, host or script path among the tags. A local store
that cannot be opened stops a stage at its start. Later failures of recording are reported in one line and stop nothing. A server may be
unreachable at any time, so calls to it go through an outbox.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.progress import progress, say
from angiosynth.settings import digest
from angiosynth.tracking.journal import outboxes, send_all, waiting
from angiosynth.tracking.lineage import (
    flat,
    git_commit,
    lineage_path,
    portable,
    project_root,
    read_lineage,
    workspace_root,
    write_lineage,
)
from angiosynth.tracking.opening import (
    begun,
    later,
    open_if_there,
    open_store,
    or_input_error,
    remote,
    tracking_on,
    tracking_uri,
)
from angiosynth.tracking.outbox import Outbox
from angiosynth.tracking.run import DataSource, Run, RunSpec, Store, StoreError, one_line
from angiosynth.tracking.store import EXPERIMENTS, PARENT, watch_machine

__all__ = [
    "EXPERIMENTS",
    "DataSource",
    "Run",
    "RunSpec",
    "end_lost",
    "ensure_store",
    "project_root",
    "reach_store",
    "remote",
    "reopen",
    "sync",
    "tracking_on",
    "tracking_uri",
    "training_run",
    "waiting",
]


def ensure_store(root: Path) -> None:
    """Create the database and the experiments if they are missing; call it before workers start.

    Raises:
        InputError: the store cannot be opened. An unreachable server is no error, since runs go to an outbox.
    """
    if tracking_on():
        with or_input_error(Path(root)):
            open_if_there(Path(root))


def reach_store(root: Path) -> None:
    """As `ensure_store`, but an unreachable server is an error too.

    Raises:
        InputError: the store cannot be opened.
    """
    with or_input_error(Path(root)):
        open_store(Path(root))


@contextmanager
def training_run(spec: RunSpec, *, root: Path | None = None, lineage: bool = True, resume: Path | None = None) -> Iterator[Run]:
    """Context of one MLflow run, which ends FINISHED, FAILED after an exception, or KILLED after Ctrl-C or SIGTERM.

    Args:
        spec: description of the run.
        root: folder that contains mlruns/ and lineage/. By default project_root() and workspace_root(): in a temporary `dvc exp` the store
            is that of the main repository and the lineage file that of the experiment.
        lineage: whether to write lineage/<stage>.json when the run has finished; False in sweeps.
        resume: a file among the resume files of a stage that stores the run id. A stage that was killed continues in the same run, so that
            all child runs have one parent.

    Raises:
        InputError: the store cannot be opened, or the experiment does not exist. For a child run this is only reported, and the run is not
            recorded, since it starts in the middle of a stage.
    """
    if not tracking_on():
        yield Run(None, "", Path())
        return
    store_root, home = _roots(root)
    commit = git_commit(home)
    store, run = _begun(spec, store_root, home, commit, resume)
    if resume is not None:
        with whole_file(resume) as temporary:
            temporary.write_text(run.id, encoding="utf-8")
    try:
        yield from _watched(run, _watching(run) if not spec.parent else lambda: None)  # the parent records system metrics for its children
        if lineage and store is not None:
            entries = {"run_id": run.id, "experiment": spec.experiment, "git_commit": commit, "data_digest": _digest_of(spec.data)}
            entries |= {"settings_digest": _settings_digest(spec.settings, home), "store": tracking_uri(store_root).partition(":")[0]}
            _keep_lineage(store, home, spec.stage, entries)
    finally:
        if isinstance(store, Outbox):
            _finish(store)
            run.id = store.id


def _begun(spec: RunSpec, store_root: Path, home: Path, commit: str, resume: Path | None) -> tuple[Store | None, Run]:
    """Create or resume the run and describe it. If a child run cannot be recorded this is reported, and it gets no store."""
    tags = {**spec.tags, "dvc_stage": spec.stage, "git_commit": commit, "data_digest": _digest_of(spec.data)}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = experiment
    tags, name = {key: portable(value, home) for key, value in tags.items()}, portable(spec.name, home)
    if spec.parent:
        tags[PARENT] = spec.parent
    try:
        with or_input_error(store_root):
            store, run_id, known = begun(store_root, resume, spec.experiment, name, tags)
            run = Run(store, run_id, home)
            if not known:
                run.describe(spec.settings, spec.data, must=not spec.parent)
            return store, run
    except Exception as error:
        if not spec.parent:
            raise
        say(f"tracking: {name} is not recorded, the work goes on without: {one_line(error)}")
        return None, Run(None, "", home)


def _digest_of(data: DataSource | None) -> str:
    return data.digest if data else ""


def reopen(run: str, values: Mapping[str, float], *, root: Path | None = None, settings: Mapping[str, Any] | None = None) -> bool:
    """Add final metrics to a finished run, e.g. `test_dsc` of a generator. If that fails a message is printed, and the result is False.

    Args:
        run: a run id, or the stage whose lineage file contains it, e.g. "train-generator@NAME".
        values: the metrics; they become the latest values of the run.
        root: as in `training_run`.
        settings: settings of the run's RunSpec. If the lineage file has other settings (DVC restored the model from its cache), nothing is
            added.
    """
    if not tracking_on():
        return False
    store_root, home = _roots(root)
    try:
        return _add_metrics(run, values, store_root, home, settings)
    except Exception as error:  # must not fail the calling stage, whose outputs are complete
        say(f"tracking: {run}: metrics not added to its run: {one_line(error)}")
        return False


def _add_metrics(run: str, values: Mapping[str, float], store_root: Path, home: Path, settings: Mapping[str, Any] | None) -> bool:
    run_id = run if re.fullmatch(r"(local-)?[0-9a-f]{32}", run) else _run_of(home, run, settings)
    with or_input_error(store_root):
        store = open_if_there(store_root)
        if store is None:
            later(store_root, run_id, lambda outbox: outbox.final(values))
            return True
        run_id = store.resolve(run_id)
        step = store.last_step(run_id, values)
    reopened = Run(store, run_id, home)
    reopened.final(values, step)
    return not reopened.failed


def end_lost(name: str, parent: str, root: Path) -> str:
    """End the run of a trial whose process was killed, or create it if it does not exist; returns its id.

    While the server is unreachable the id is "", and the run is ended later.
    """
    if not tracking_on() or not parent:
        return ""
    name = portable(name, root := Path(root).resolve())
    with or_input_error(root):
        store = open_if_there(root)
        try:
            if store is not None:
                return store.end_lost(parent, name)
        except StoreError as error:
            if not (error.away and remote(root)):
                raise
    later(root, parent, lambda outbox: outbox.end_lost(parent, name))
    return ""


def sync(root: Path) -> int:
    """Send the entries of runs whose server was unreachable. Returns the number of remaining entries, which belong to active runs.

    Raises:
        InputError: the server does not answer.
    """
    root = Path(root).resolve()
    if not remote(root):
        raise InputError("MLFLOW_TRACKING_URI names no server; runs without one lie in mlruns/mlflow.db at once")
    with or_input_error(root):
        for _ in progress(send_all(outboxes(root), open_store(root)), "sending what was kept", waiting(root)):
            pass
    return waiting(root)


def _machine_watched() -> bool:
    """Whether system metrics are recorded; MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false disables them, as in MLflow."""
    return os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() not in ("false", "0")


def _watching(run: Run) -> Callable[[], None]:
    """Start recording system metrics. Returns a function that stops it."""
    if _machine_watched():
        try:
            return watch_machine(run.machine)
        except Exception as error:
            say(f"tracking: the machine's load is not recorded: {one_line(error)}")
    return lambda: None


def _keep_lineage(store: Store, home: Path, stage: str, facts: Mapping[str, str]) -> None:
    try:
        write_lineage(home, stage, facts)
        if isinstance(store, Outbox):
            store.settle(lineage_path(home, stage))
    except Exception as error:
        say(f"tracking: lineage of {stage} not kept: {one_line(error)}")


def _finish(outbox: Outbox) -> None:
    try:
        outbox.finish()
    except Exception as error:
        say(f"tracking: mlruns/outbox: {one_line(error)}")


def _watched(run: Run, stop: Callable[[], None]) -> Iterator[Run]:
    status, reason = "FINISHED", ""
    try:
        yield run
    except BaseException as error:
        status, reason = ("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"), type(error).__name__
        raise
    finally:
        stop()
        run.end(status, reason)


def _roots(root: Path | None) -> tuple[Path, Path]:
    return (project_root(), workspace_root()) if root is None else (Path(root).resolve(), Path(root).resolve())


def _settings_digest(settings: Mapping[str, Any], root: Path) -> str:
    return digest(dict(flat(settings, root)))


def _run_of(home: Path, stage: str, settings: Mapping[str, Any] | None) -> str:
    kept = read_lineage(home, stage)
    if settings is not None and kept.get("settings_digest") != _settings_digest(settings, home):
        raise InputError(f"lineage of {stage} belongs to other settings; run that stage anew to track it")
    return str(kept.get("run_id", ""))
