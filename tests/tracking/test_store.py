"""Where the store is, and what happens when it is off, elsewhere, damaged, or fails in the middle of a training."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from angiosynth.errors import InputError
from angiosynth.tracking import runs as tracking
from angiosynth.tracking.fetching import fetch
from angiosynth.tracking.run import Run, StoreError
from angiosynth.tracking.runs import RunSpec, ensure_store, reopen, tracking_uri, training_run
from angiosynth.tracking.views import TAG

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(root: Path) -> Any:
    return MlflowClient(tracking_uri(root))


def a_run(root: Path | None, stage: str = "train-unet@real", lineage: bool = False) -> AbstractContextManager[Run]:
    return training_run(RunSpec("unet", "a run", stage=stage, settings={"unet": {"width": 8}}), root=root, lineage=lineage)


def test_off_means_off(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy, torch\n"
        "from angiosynth.tracking.runs import *\n"
        f"root = pathlib.Path({str(tmp_path)!r}); ensure_store(root)\n"
        "with training_run(RunSpec('unet', 'x', stage='s', settings={}), root=root) as run:\n"
        "    run.metrics({'a': 1.0}, 1); run.final({'a': 1.0}); run.artifact(root / 'none'); run.flush(); run.tag('a', 'b')\n"
        "    assert run.log_model(torch.nn.Linear(1, 1), numpy.zeros((1, 1)), 'x') == ''\n"
        "assert run.id == '' and not reopen('s', {'a': 1.0}, root=root) and 'mlflow' not in sys.modules\n"
    )
    environment = {**os.environ, "ANGIOSYNTH_TRACKING": "off", "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert tracking.project_root() == tmp_path
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    assert tracking.project_root() == tmp_path / "main"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab.example.org")
    assert tracking_uri(tmp_path) == "http://lab.example.org"


def test_the_store_of_the_user_wins(root: Path, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))
    with a_run(tmp_path) as run:
        run.metrics({"loss": 1.0}, 1)
    assert client.get_run(run.id).data.metrics == {"loss": 1.0}
    assert not (tmp_path / "mlruns").exists()


def test_inside_a_temporary_experiment(root: Path, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC_ROOT is the main repository: its store is used, but the lineage stays in the experiment's own checkout."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_EXP_NAME", "more-critic")
    with a_run(None, stage="transfer@real", lineage=True) as run:
        pass
    assert client.get_run(run.id).info.status == "FINISHED"
    assert client.get_run(run.id).data.tags["dvc_experiment"] == "more-critic"
    assert (tmp_path / "lineage" / "transfer-real.json").is_file()
    assert reopen("transfer@real", {"test_dsc": 0.5})
    assert not (tmp_path / "mlruns").exists()


def test_the_experiments_open_on_their_training_runs(root: Path, client: Any) -> None:
    ensure_store(root)
    kinds = {name: client.get_experiment_by_name(name).tags["mlflow.experimentKind"] for name in tracking.EXPERIMENTS}
    assert set(kinds.values()) == {"custom_model_development"}


def test_a_view_of_scores_is_saved_once(root: Path, client: Any) -> None:
    ensure_store(root)
    experiment = client.get_experiment_by_name("unet")
    state = json.loads(json.loads(experiment.tags[TAG])["state"])
    assert state["selectedColumns"][:2] == ["metrics.`val_dsc`", "metrics.`val_hd95_mm`"]
    assert TAG not in client.get_experiment_by_name("evaluation").tags, "audits have no such scores"
    before = experiment.tags[TAG]
    try:
        client.set_experiment_tag(experiment.experiment_id, TAG, "what the user made of it")
        ensure_store(root)
        assert client.get_experiment_by_name("unet").tags[TAG] == "what the user made of it"
    finally:
        client.set_experiment_tag(experiment.experiment_id, TAG, before)


def test_a_deleted_experiment_comes_back(root: Path, client: Any) -> None:
    client.delete_experiment(client.get_experiment_by_name("transfer").experiment_id)
    ensure_store(root)
    assert client.get_experiment_by_name("transfer").lifecycle_stage == "active"


def test_an_unknown_experiment_and_a_missing_file(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(InputError, match="generator, unet, transfer"),
        training_run(RunSpec("gans", "x", stage="s", settings={}), root=root),
    ):
        pass
    with a_run(root) as run:
        run.artifact(tmp_path / "none.png")
    assert "none.png not recorded, the work goes on without: FileNotFoundError" in capsys.readouterr().err


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("not a database, " * 100)
    with pytest.raises(InputError, match=r"mlflow\.db: tracking store refused .* ANGIOSYNTH_TRACKING=off") as caught:
        ensure_store(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_database_of_another_version_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    shutil.copy(root / "mlruns" / "mlflow.db", tmp_path / "mlruns" / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '181f10493468'")
    with pytest.raises(InputError, match="out-of-date database schema"):
        ensure_store(tmp_path)


class FailingStore:
    """A store that refuses everything until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.rows: list[Any] = []

    def log_metrics(self, run_id: str, rows: list[Any]) -> None:
        if self.broken:
            raise StoreError("database is locked")
        self.rows += rows

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any) -> None:
            if self.broken:
                raise StoreError("database is locked")

        return call


def test_a_store_that_fails_stops_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store: Any = FailingStore()
    run = Run(store, "id", tmp_path)
    run.metrics({"loss": 3.0}, 1)
    run.flush()
    run.flush()
    assert run.failed
    assert capsys.readouterr().err.count("database is locked") == 1
    store.broken = False
    run.metrics({"loss": 2.0}, 2)
    run.end("FINISHED", "")
    sent = [(key, value, step) for key, value, _, step in store.rows]
    assert sent == [("loss", 3.0, 1), ("loss", 2.0, 2)], "sent once it answers, once each"


def test_runs_and_files_lie_within_a_project_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "50% [of] #1? Mu\u0308ller%41"
    root.mkdir()
    (root / "samples.png").write_bytes(b"x")
    with training_run(RunSpec("generator", "x", stage="train-generator@dcgan", settings={"a": 1}), root=root) as run:
        run.artifact(root / "samples.png")
    (tmp_path / "out").mkdir()
    fetch(f"runs:/{run.id}", {"samples.png": 1}, tmp_path / "out", root)
    assert (tmp_path / "out" / "samples.png").read_bytes() == b"x"
    assert {path.name for path in tmp_path.iterdir()} == {root.name, "out"}
    assert list((root / "mlruns").rglob("samples.png"))
