"""MLflow server or database with the methods of `run.Store`. The only module that imports mlflow, and only when used."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.errors import InputError
from angiosynth.tracking import registry
from angiosynth.tracking.artifacts import copy_ordinary, files_at_most, local_folder, refuse_other_places
from angiosynth.tracking.databases import in_short
from angiosynth.tracking.run import DataSource, MetricRow, StoreError
from angiosynth.tracking.views import TAG, saved_view

if TYPE_CHECKING:
    from torch import nn

EXPERIMENTS = ("generator", "unet", "transfer", "sweep", "evaluation")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # page for trainings instead of traces of language models
# Failures of the store are reported in one line; MLflow would add a traceback for each call.
NOISE = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3": logging.ERROR, "mlflow.store.db.utils": logging.CRITICAL}
NOISE |= {"mlflow.utils.environment": logging.ERROR}  # it would warn for every model that environments made by uv have no pip
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # MLflow's limits for one log_batch
DIGEST_LENGTH, SAMPLED_EVERY_S = 36, 10  # characters; seconds between system metrics
LOCAL = "local-"  # prefix of ids of runs that were started while the server was unreachable
STARTED_AS, PARENT = "started_as", "mlflow.parentRunId"  # tags: such an id, and the run of a sweep or a grid
LATER = (401, 403, 408, 429)  # temporary refusals: login, permission, timeout, rate limit
OVER_HTTP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # MLflow's defaults wait for minutes
OVER_HTTP |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


class NotThereYetError(StoreError):
    """The server does not yet have a run for an id that starts with "local-"."""


def create_tables(uri: str, artifacts: str) -> None:
    """Make MLflow's tables in a new database; its default experiment gets an artifact location under `artifacts`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, artifacts).engine.dispose()


class MlflowStore:
    """A `run.Store` on an MLflow client."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            for noisy, level in NOISE.items():
                logging.getLogger(noisy).setLevel(level)
        if uri.startswith("http"):
            for name, value in OVER_HTTP.items():
                os.environ.setdefault(name, value)
        self._ids: dict[str, str] = {}
        self._uri = uri
        self._client: Any = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)

    def ensure_experiments(self, artifacts: str | None) -> None:
        """Create missing experiments with artifact locations under `artifacts`, a folder or URI; None leaves the location to the server."""
        from mlflow.entities import ViewType

        with or_store_error():
            known = {entry.name: entry for entry in self._client.search_experiments(view_type=ViewType.ALL)}
            for name in EXPERIMENTS:
                if name not in known:
                    self._client.create_experiment(name, artifact_location=f"{artifacts}/{name}" if artifacts else None, tags=KIND)
                elif known[name].lifecycle_stage == "deleted":
                    self._client.restore_experiment(known[name].experiment_id)
                if (view := saved_view(name)) and (name not in known or TAG not in known[name].tags):
                    self._client.set_experiment_tag(self._client.get_experiment_by_name(name).experiment_id, TAG, view)

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], start_time: int | None = None) -> str:
        labels = {**tags, **{key: self.resolve(tags[key]) for key in (PARENT,) if key in tags}}
        with or_store_error():
            known = self._client.get_experiment_by_name(experiment)
            if known is None:
                raise InputError(f"{experiment}: no such experiment; take one of {', '.join(EXPERIMENTS)}")
            return str(self._client.create_run(known.experiment_id, start_time, tags=labels, run_name=name).info.run_id)

    def resolve(self, run_id: str) -> str:
        """Return the id of a run in the store, for an id that may start with "local-".

        Raises:
            NotThereYetError: the store does not have the run yet.
        """
        if not run_id.startswith(LOCAL):
            return run_id
        if run_id not in self._ids:
            with or_store_error():
                experiments = [entry.experiment_id for entry in self._client.search_experiments()]
                runs = self._client.search_runs(experiments, f"tags.{STARTED_AS} = '{run_id}'", max_results=1)
            if not runs:
                raise NotThereYetError(f"{run_id}: the server has no such run yet")
            self._ids[run_id] = str(runs[0].info.run_id)
        return self._ids[run_id]

    def end_lost(self, parent: str, name: str) -> str:
        """End the run of a trial whose process was killed, or create it if it does not exist; returns its id."""
        parent = self.resolve(parent)
        run_id = self.child("sweep", parent, name) or self.create_run("sweep", name, {PARENT: parent})
        self.set_tag(run_id, "failure", "killed")
        self.close(run_id, "KILLED")
        return run_id

    def child(self, experiment: str, parent: str, name: str) -> str | None:
        """Return the id of the child run with this name, or None."""
        with or_store_error():
            known = self._client.get_experiment_by_name(experiment)
            wanted = f"tags.`{PARENT}` = '{parent}' and attributes.run_name = '{name}'"
            runs = self._client.search_runs([known.experiment_id], wanted, max_results=1) if known else []
        return str(runs[0].info.run_id) if runs else None

    def resume_run(self, run_id: str) -> bool:
        """Set the status of an interrupted run to running; False if the run does not exist."""
        try:
            with or_store_error():
                self._client.update_run(self.resolve(run_id), status="RUNNING")
        except StoreError as error:
            if error.away and not isinstance(error, NotThereYetError):
                raise
            return False
        return True

    def last_step(self, run_id: str, keys: Mapping[str, float]) -> int:
        """Return the highest step at which one of the keys was logged; MLflow displays the value at the highest step."""
        with or_store_error():
            known = self._client.get_run(run_id).data.metrics
            return max((point.step for key in keys if key in known for point in self._client.get_metric_history(run_id, key)), default=0)

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        from mlflow.entities import Metric

        with or_store_error():
            for start in range(0, len(rows), METRICS_A_CALL):
                self._client.log_batch(run_id, metrics=[Metric(*row) for row in rows[start : start + METRICS_A_CALL]])

    def log_params(self, run_id: str, pairs: Sequence[tuple[str, str]]) -> None:
        from mlflow.entities import Param

        with or_store_error():
            for start in range(0, len(pairs), PARAMS_A_CALL):
                self._client.log_batch(run_id, params=[Param(*pair) for pair in pairs[start : start + PARAMS_A_CALL]])

    def log_input(self, run_id: str, data: DataSource, source: str, profile: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entry = Dataset(data.name, data.digest[:DIGEST_LENGTH], "local", source, schema=None, profile=profile)
        with or_store_error():
            self._client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])])

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        with or_store_error():
            self._client.log_artifact(run_id, str(path), folder or None)

    def run_behind(self, uri: str) -> str:
        """Run id of "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS".

        Raises:
            InputError: the URI has none of these forms.
        """
        named = re.fullmatch(r"runs:/([0-9a-f]{32})|models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri)
        if named is None:
            raise InputError(f"{uri}: names no model; write runs:/RUN, models:/NAME/VERSION or models:/NAME@ALIAS")
        run, model, version, alias = named.groups()
        if run:
            return str(run)
        with or_store_error():
            if alias == registry.CHAMPION and (best := registry.champion_run(self._client, model)) is not None:
                return best
            entry = self._client.get_model_version_by_alias(model, alias) if alias else self._client.get_model_version(model, version)
        return str(entry.run_id)

    def fetch_file(self, run_id: str, name: str, folder: Path, most: int) -> None:
        """Fetch an artifact file of at most `most` bytes into a folder.

        Raises:
            InputError: it is not a regular file, larger, or stored at a location that is not allowed.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with or_store_error():
            place = str(self._client.get_run(run_id).info.artifact_uri)
            if (kept := local_folder(place)) is not None:
                copy_ordinary(kept / name, folder / name, most)
                return
            refuse_other_places(place, self._uri)
            # Not `download_artifacts`, which asks the server whether the name is a folder and then downloads its whole content.
            with files_at_most(most, f"{place}/{name}"):
                get_artifact_repository(place, self._uri)._download_file(name, str(folder / name))

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        with or_store_error():
            self._client.set_tag(run_id, key, value)

    def close(self, run_id: str, status: str, end_time: int | None = None) -> None:
        with or_store_error():
            self._client.set_terminated(run_id, status, end_time)

    def save_network(self, network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None:
        save_network(network, example, shapes, target)

    def log_model_folder(self, run_id: str, name: str, folder: Path, step: int, register: str | None, *, once: bool = False) -> str:
        """Log a model to its run and register it. `once`: reuse the model of an earlier attempt."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        with or_store_error():
            run = self._client.get_run(run_id)
            experiment = run.info.experiment_id
            wanted = f"name = '{name}' AND source_run_id = '{run_id}'"
            model = next(iter(self._client.search_logged_models([experiment], wanted)), None) if once else None
            if model is None:
                model = self._client.create_logged_model(experiment, name=name, source_run_id=run_id, params=run.data.params)
            if model.status != LoggedModelStatus.READY:
                if model.model_id not in {output.model_id for output in run.outputs.model_outputs}:
                    self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
                self._client.log_model_artifacts(model.model_id, str(folder))
                self._client.finalize_logged_model(model.model_id, "READY")
            if register:
                registry.register(self._client, register, model, run_id, once)
        return f"models:/{model.model_id}"


def save_network(network: nn.Module, example: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], target: Path) -> None:
    """Write a network as a torch.export program without pickle, with signature, noise as example, and versions of libraries."""
    import torch
    from mlflow.models import ModelSignature
    from mlflow.pytorch import save_model
    from mlflow.types import Schema, TensorSpec
    from mlflow.version import VERSION

    from angiosynth.runtime.checkpoint import exported_through_memory

    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), shape)]) for shape in shapes)
    versions = {"torch": torch.__version__.partition("+")[0], "mlflow": VERSION, "numpy": np.__version__}
    needs = [f"{package}=={version}" for package, version in versions.items()]
    signature = ModelSignature(inputs=inputs, outputs=outputs)
    with warnings.catch_warnings(), exported_through_memory():
        warnings.filterwarnings("ignore", message="No complete tensor found")  # concerns weights outside the CPU
        save_model(network, target, signature=signature, input_example=example, pip_requirements=needs, serialization_format="pt2")


def watch_machine(record: Callable[[Mapping[str, float], int], None]) -> Callable[[], None]:
    """Record load, memory, disk and network of the machine every ten seconds until the returned function is called.

    Uses MLflow's samplers without its loop, which calls the server at every sample and ends at the first failure.
    """
    from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, gpu_monitor, network_monitor, rocm_monitor

    makers: Any = (cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor)
    samplers = [maker() for maker in makers]
    for maker in (gpu_monitor.GPUMonitor, rocm_monitor.ROCMMonitor):
        with suppress(Exception):  # no such GPU, or the library to query it is missing
            samplers.append(maker())
    every, ended = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or SAMPLED_EVERY_S, threading.Event()

    def watch() -> None:
        step = 0
        while not ended.wait(every):
            with suppress(Exception):  # skip a sample, for example if the system lacks a counter
                for sampler in samplers:
                    sampler.clear_metrics()
                    sampler.collect_metrics()
                record({f"system/{key}": value for sampler in samplers for key, value in sampler.aggregate_metrics().items()}, step)
            step += 1

    watching = threading.Thread(target=watch, daemon=True, name="machine")
    watching.start()

    def finish() -> None:
        ended.set()
        watching.join()

    return finish


@contextmanager
def or_store_error() -> Iterator[None]:
    """Convert any exception of a store to StoreError, because backends raise more than MLflow declares."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (StoreError, InputError):
        raise
    except Exception as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 400 if isinstance(error, ImportError) else 503
        if "Invalid url" in str(error):
            status = 400  # permanent
        raise StoreError(in_short(str(error).strip() or type(error).__name__), status >= 500 or status in LATER) from error
