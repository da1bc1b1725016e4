"""An MLflow server or file behind the methods that a run needs. The only module that imports mlflow, and only when used."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.errors import InputError
from angiosynth.experiments.run import DataSource, MetricRow, StoreError
from angiosynth.experiments.views import TAG, saved_view

if TYPE_CHECKING:
    from torch import nn

EXPERIMENTS = ("gan", "unet", "transfer", "sweep", "evaluation")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # trainings, not traces of language models
CHAMPION, CHAMPIONS_BY = "champion", "val_dsc"
METRICS_A_CALL = 1000  # MLflow's limits for one log_batch
PARAMS_A_CALL = 100
DIGEST_LENGTH = 36
SAMPLED_EVERY_S = 10  # the machine's load


class MlflowStore:
    """run.Store on an MLflow client."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            for noisy in ("mlflow", "alembic"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
        self._uri = uri
        self._client: Any = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)

    def ensure_experiments(self, artifacts: Path | None) -> None:
        from mlflow.entities import ViewType

        with or_store_error():
            known = {found.name: found for found in self._client.search_experiments(view_type=ViewType.ALL)}
            for name in EXPERIMENTS:
                if name not in known:
                    self._client.create_experiment(name, artifact_location=str(artifacts / name) if artifacts else None, tags=KIND)
                elif known[name].lifecycle_stage == "deleted":
                    self._client.restore_experiment(known[name].experiment_id)
                if (view := saved_view(name)) and (name not in known or TAG not in known[name].tags):
                    self._client.set_experiment_tag(self._client.get_experiment_by_name(name).experiment_id, TAG, view)

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        with or_store_error():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                raise InputError(f"{experiment}: no such experiment; take one of {', '.join(EXPERIMENTS)}")
            return str(self._client.create_run(found.experiment_id, tags=dict(tags), run_name=name).info.run_id)

    def child(self, experiment: str, parent: str, name: str) -> str | None:
        """The run of that name under a parent."""
        with or_store_error():
            found = self._client.get_experiment_by_name(experiment)
            wanted = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"
            runs = self._client.search_runs([found.experiment_id], wanted, max_results=1) if found else []
        return str(runs[0].info.run_id) if runs else None

    def resume_run(self, run_id: str) -> bool:
        """Set a run that ended early running again; False where there is no such run."""
        try:
            with or_store_error():
                self._client.update_run(run_id, status="RUNNING")
        except StoreError:
            return False
        return True

    def last_step(self, run_id: str, keys: Mapping[str, float]) -> int:
        """The highest step at which one of the keys was logged: MLflow shows the value of the highest step."""
        with or_store_error():
            known = self._client.get_run(run_id).data.metrics
            return max((point.step for key in keys if key in known for point in self._client.get_metric_history(run_id, key)), default=0)

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        from mlflow.entities import Metric

        with or_store_error():
            for start in range(0, len(rows), METRICS_A_CALL):
                self._client.log_batch(run_id, metrics=[Metric(*row) for row in rows[start : start + METRICS_A_CALL]])

    def watch_machine(self, run_id: str) -> Callable[[], None]:
        """Log the machine's load, memory, disk and network every ten seconds, until what is given is called."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # it says when it starts and ends
        made: Any = SystemMetricsMonitor  # without types
        monitor = made(run_id, sampling_interval=SAMPLED_EVERY_S, tracking_uri=self._uri)
        monitor.start()
        finish: Callable[[], None] = monitor.finish
        return finish

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
        """The run of "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS".

        Raises:
            InputError: it is none of these.
        """
        named = re.fullmatch(r"runs:/([0-9a-f]{32})|models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri)
        if named is None:
            raise InputError(f"{uri}: names no model; write a folder, runs:/RUN, models:/NAME/VERSION or models:/NAME@ALIAS")
        run, model, version, alias = named.groups()
        if run:
            return str(run)
        with or_store_error():
            found = self._client.get_model_version_by_alias(model, alias) if alias else self._client.get_model_version(model, version)
        return str(found.run_id)

    def fetch_file(self, run_id: str, name: str, folder: Path) -> None:
        """Bring a file that log_file has kept into a folder."""
        with or_store_error():
            self._client.download_artifacts(run_id, name, str(folder))

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        with or_store_error():
            self._client.set_tag(run_id, key, value)

    def close(self, run_id: str, status: str) -> None:
        with or_store_error():
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

        with or_store_error():
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
        made = self._client.create_model_version(name, model.artifact_location, run_id=run_id, model_id=model.model_id)
        self._crown(name, str(made.version), run_id)

    def _crown(self, name: str, version: str, run_id: str) -> None:
        """Move the alias `champion` to a version whose validation DSC is better than the champion's. Test scores have no say."""
        score = self._client.get_run(run_id).data.metrics.get(CHAMPIONS_BY)
        if score is None:
            return
        champion = self._client.get_registered_model(name).aliases.get(CHAMPION)
        if champion is not None:
            holder = self._client.get_model_version(name, champion).run_id
            if score <= self._client.get_run(holder).data.metrics.get(CHAMPIONS_BY, -1.0):
                return
        self._client.set_registered_model_alias(name, CHAMPION, version)


@contextmanager
def or_store_error() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error
