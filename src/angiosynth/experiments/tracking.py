"""MLflow runs: curves, samples, models and the data they came from. The only module that imports mlflow.

The client is used directly, not `mlflow.start_run` and its kin: no global state, and no user, host or script path among the tags.
A store that fails in the middle of a training is said once and stops nothing; one that cannot be opened stops at the start.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.errors import InputError
from angiosynth.experiments.lineage import alone_in, flat, git_commit, portable, project_root, read_lineage, workspace_root, write_lineage
from angiosynth.experiments.run import DataSource, MetricRow, Run, StoreError
from angiosynth.runtime.progress import say
from angiosynth.settings import digest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EXPERIMENTS", "DataSource", "Run", "ensure_store", "project_root", "reopen", "tracking_on", "tracking_uri", "training_run"]

EXPERIMENTS = ("gan", "unet", "transfer", "sweep", "evaluation")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the pages open on training runs, not on traces of language models
METRICS_A_CALL = 1000  # MLflow's limits for one log_batch
PARAMS_A_CALL = 100
DIGEST_LENGTH = 36


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

    Raises:
        InputError: the store cannot be opened, or there is no such experiment.
    """
    if not tracking_on():
        yield Run(None, "", Path())
        return
    store_root, home = _roots(root)
    facts = {"dvc_stage": stage, "git_commit": git_commit(home), "data_digest": data.digest if data else ""}
    labels = {**{key: portable(value, home) for key, value in (tags or {}).items()}, **facts}
    if parent:
        labels["mlflow.parentRunId"] = parent
    with _or_input_error(store_root):
        store = _open(store_root)
        run = Run(store, store.create_run(experiment, name, labels), home)
        run.describe(settings, data)
    yield from _watched(run)
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


class MlflowStore:
    """run.Store on an MLflow client."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            for noisy in ("mlflow", "alembic"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
        self._client: Any = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)

    def ensure_experiments(self, artifacts: Path | None) -> None:
        from mlflow.entities import ViewType

        with _or_store_error():
            known = {found.name: found for found in self._client.search_experiments(view_type=ViewType.ALL)}
            for name in EXPERIMENTS:
                if name not in known:
                    self._client.create_experiment(name, artifact_location=str(artifacts / name) if artifacts else None, tags=KIND)
                elif known[name].lifecycle_stage == "deleted":
                    self._client.restore_experiment(known[name].experiment_id)

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        with _or_store_error():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                raise InputError(f"{experiment}: no such experiment; take one of {', '.join(EXPERIMENTS)}")
            return str(self._client.create_run(found.experiment_id, tags=dict(tags), run_name=name).info.run_id)

    def last_step(self, run_id: str, keys: Mapping[str, float]) -> int:
        """The highest step at which one of the keys was logged: MLflow shows the value of the highest step."""
        with _or_store_error():
            known = self._client.get_run(run_id).data.metrics
            return max((point.step for key in keys if key in known for point in self._client.get_metric_history(run_id, key)), default=0)

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        from mlflow.entities import Metric

        with _or_store_error():
            for start in range(0, len(rows), METRICS_A_CALL):
                self._client.log_batch(run_id, metrics=[Metric(*row) for row in rows[start : start + METRICS_A_CALL]])

    def log_params(self, run_id: str, pairs: Sequence[tuple[str, str]]) -> None:
        from mlflow.entities import Param

        with _or_store_error():
            for start in range(0, len(pairs), PARAMS_A_CALL):
                self._client.log_batch(run_id, params=[Param(*pair) for pair in pairs[start : start + PARAMS_A_CALL]])

    def log_input(self, run_id: str, data: DataSource, source: str, profile: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entry = Dataset(data.name, data.digest[:DIGEST_LENGTH], "local", source, schema=None, profile=profile)
        with _or_store_error():
            self._client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])])

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        with _or_store_error():
            self._client.log_artifact(run_id, str(path), folder or None)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        with _or_store_error():
            self._client.set_tag(run_id, key, value)

    def close(self, run_id: str, status: str) -> None:
        with _or_store_error():
            self._client.set_terminated(run_id, status)

    def save_network(self, network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None:
        import torch
        from mlflow.models import ModelSignature
        from mlflow.pytorch import save_model
        from mlflow.types import Schema, TensorSpec
        from mlflow.version import VERSION

        inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), shape)]) for shape in shapes)
        versions = {"torch": torch.__version__.partition("+")[0], "mlflow": VERSION, "numpy": np.__version__}
        needs = [f"{package}=={version}" for package, version in versions.items()]
        signature = ModelSignature(inputs=inputs, outputs=outputs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No complete tensor found")  # said of weights off the CPU; these are on it
            save_model(network, target, signature=signature, input_example=example, pip_requirements=needs, serialization_format="pt2")

    def log_model_folder(self, run_id: str, name: str, folder: Path, step: int, register: str | None) -> str:
        from mlflow.entities import LoggedModelOutput

        with _or_store_error():
            run = self._client.get_run(run_id)
            model = self._client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params)
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
            if register:
                self._register(register, model, run_id)
        return f"models:/{model.model_id}"

    def _register(self, name: str, model: Any, run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # By its location: MLflow looks "models:/" up in the process's global store.
        self._client.create_model_version(name, model.artifact_location, run_id=run_id, model_id=model.model_id)


def _open(root: Path) -> MlflowStore:
    """The store with its experiments. One process at a time: MLflow's migrations do not stand two that create one database."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        store = MlflowStore(tracking_uri(root))
        store.ensure_experiments(None)
        return store
    with _or_store_error(), alone_in(root / "mlruns"):
        store = MlflowStore(tracking_uri(root))
        store.ensure_experiments(root.resolve() / "mlruns" / "artifacts")
    return store


def _watched(run: Run) -> Iterator[Run]:
    status, reason = "FINISHED", ""
    try:
        yield run
    except BaseException as error:
        status, reason = ("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"), type(error).__name__
        raise
    finally:
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
def _or_store_error() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error


@contextmanager
def _or_input_error(root: Path) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        what = "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else str(root / "mlruns" / "mlflow.db")
        raise InputError(f"{what}: tracking store refused ({error}); mend or move it away, or set ANGIOSYNTH_TRACKING=off") from error
