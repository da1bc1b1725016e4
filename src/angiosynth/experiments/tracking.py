"""MLflow runs: curves, samples, models and the data they came from.

The client is used directly, not `mlflow.start_run` and its kin: no global state, and no user, host or script path among the tags.
A store that fails in the middle of a training is said once and stops nothing; one that cannot be opened stops at the start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiosynth.errors import InputError
from angiosynth.experiments.lineage import alone_in, flat, git_commit, portable, project_root, read_lineage, workspace_root, write_lineage
from angiosynth.experiments.run import DataSource, Run, StoreError
from angiosynth.experiments.store import EXPERIMENTS, MlflowStore, or_store_error
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.progress import say
from angiosynth.settings import digest

if TYPE_CHECKING:
    pass

__all__ = [
    "EXPERIMENTS",
    "DataSource",
    "Run",
    "end_lost",
    "ensure_store",
    "fetch",
    "project_root",
    "reopen",
    "tracking_on",
    "tracking_uri",
    "training_run",
]


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI where the user set it, else the SQLite file under `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(root).resolve()}/mlruns/mlflow.db"


def tracking_on() -> bool:
    """False with ANGIOSYNTH_TRACKING=off: runs then record nothing and mlflow is not imported."""
    return os.environ.get("ANGIOSYNTH_TRACKING", "").lower() != "off"


def ensure_store(root: Path) -> None:
    """Create the database and the project's experiments where missing; call it before workers start.

    Raises:
        InputError: the store cannot be opened.
    """
    if tracking_on():
        with _or_input_error(Path(root)):
            _open(Path(root))


@contextmanager
def training_run(
    experiment: str,
    name: str,
    *,
    stage: str,
    settings: Mapping[str, Any],
    data: DataSource | None = None,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
    root: Path | None = None,
    lineage: bool = True,
    resume: Path | None = None,
) -> Iterator[Run]:
    """One MLflow run around a training; it ends FINISHED, FAILED on an exception, KILLED on Ctrl-C or SIGTERM.

    Args:
        experiment: one of EXPERIMENTS.
        name: the run's name.
        stage: the DVC stage, e.g. "train-gan@dcgan": a tag, and the name of the lineage file.
        settings: nested mappings or settings sections, logged as dotted parameters.
        data: the training data, logged as the run's input.
        tags: further tags.
        parent: run id of the parent run.
        root: holds mlruns/ and lineage/. By default project_root() and workspace_root(): in a temporary `dvc exp`
            the store is the main repository's, the lineage file the experiment's own.
        lineage: write lineage/<stage>.json once the run has finished; False in sweeps.
        resume: a file among a stage's resume files for the run's id. A stage that was killed goes on in the same run by it, so that
            its children all lie under one parent.

    Raises:
        InputError: the store cannot be opened, or there is no such experiment.
    """
    if not tracking_on():
        yield Run(None, "", Path())
        return
    store_root, home = _roots(root)
    facts = {"dvc_stage": stage, "git_commit": git_commit(home), "data_digest": data.digest if data else ""}
    labels = {**{key: portable(value, home) for key, value in (tags or {}).items()}, **facts}
    if experiment_name := os.environ.get("DVC_EXP_NAME"):
        labels["dvc_experiment"] = experiment_name
    if parent:
        labels["mlflow.parentRunId"] = parent
    with _or_input_error(store_root):
        store = _open(store_root)
        known = _resumed(store, resume)
        run = Run(store, known or store.create_run(experiment, name, labels), home)
        if not known:
            run.describe(settings, data)
    if resume is not None:
        with whole_file(resume) as temporary:
            temporary.write_text(run.id, encoding="utf-8")
    # A child's machine is its parent's.
    yield from _watched(run, store.watch_machine(run.id) if not parent and _machine_watched() else lambda: None)
    if lineage:
        kept = {"run_id": run.id, "experiment": experiment, "git_commit": facts["git_commit"], "data_digest": facts["data_digest"]}
        kept["settings_digest"] = _settings_digest(settings, home)
        write_lineage(home, stage, {**kept, "store": tracking_uri(store_root).partition(":")[0]})


def reopen(run: str, values: Mapping[str, float], *, root: Path | None = None, settings: Mapping[str, Any] | None = None) -> bool:
    """Add end metrics to a finished run, e.g. a GAN's `test_dsc`, which its U-net found. False, said aloud, where it cannot be.

    Args:
        run: a run id, or the stage whose lineage file names it, e.g. "train-gan@dcgan".
        values: the metrics; they become the run's latest values.
        root: as for training_run.
        settings: what training_run got. Where the lineage is of other settings (DVC took the model from its cache), nothing is added.
    """
    if not tracking_on():
        return False
    store_root, home = _roots(root)
    try:
        run_id = run if re.fullmatch(r"[0-9a-f]{32}", run) else _run_of(home, run, settings)
        with _or_input_error(store_root):
            store = _open(store_root)
            step = store.last_step(run_id, values)
    except InputError as error:
        say(f"tracking: {run}: metrics not added to its run: {error}")
        return False
    reopened = Run(store, run_id, home)
    reopened.final(values, step)
    return not reopened.failed


def end_lost(name: str, parent: str, root: Path) -> str:
    """End the run of a sweep's trial whose process was killed, or make it where the kill came before it; gives its id."""
    if not tracking_on() or not parent:
        return ""
    root = Path(root).resolve()
    with _or_input_error(root):
        store = _open(root)
        run_id = store.child("sweep", parent, name) or store.create_run("sweep", name, {"mlflow.parentRunId": parent})
        store.set_tag(run_id, "failure", "killed")
        store.close(run_id, "KILLED")
    return run_id


def fetch(uri: str, names: Sequence[str], folder: Path, *, root: Path | None = None) -> None:
    """Bring files that a run has kept into a folder.

    Args:
        uri: "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS".
        names: the files.
        folder: an existing one.
        root: as for training_run.

    Raises:
        InputError: the store cannot be opened, or there is no such run, model or file.
    """
    store_root, _ = _roots(root)
    with _or_input_error(store_root):
        store = _open(store_root)
    try:
        run = store.run_behind(uri)
        for name in names:
            store.fetch_file(run, name, folder)
    except StoreError as error:
        raise InputError(f"{uri}: the tracking store has none such ({error}); look it up in `make ui`") from error


def _open(root: Path) -> MlflowStore:
    """The store with its experiments. One process at a time: MLflow's migrations do not stand two that create one database."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        store = MlflowStore(tracking_uri(root))
        store.ensure_experiments(None)
        return store
    with or_store_error(), alone_in(root / "mlruns"):
        store = MlflowStore(tracking_uri(root))
        store.ensure_experiments(root.resolve() / "mlruns" / "artifacts")
    return store


def _resumed(store: MlflowStore, path: Path | None) -> str:
    """The id in the file where the store still has that run, else ""."""
    run_id = path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""
    return run_id if run_id and store.resume_run(run_id) else ""


def _machine_watched() -> bool:
    """Not with MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false, by which MLflow's own runs are told."""
    return os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() not in ("false", "0")


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


@contextmanager
def _or_input_error(root: Path) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        what = "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else str(root / "mlruns" / "mlflow.db")
        raise InputError(f"{what}: tracking store refused ({error}); mend or move it away, or set ANGIOSYNTH_TRACKING=off") from error
