"""Runs in a real SQLite store: what is kept, what is left out, and what happens when something goes wrong."""

from __future__ import annotations

import getpass
import json
import math
import re
import shutil
import socket
import subprocess
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from angiosynth.errors import InputError
from angiosynth.settings import Settings, load_settings
from angiosynth.tracking.run import Run
from angiosynth.tracking.runs import DataSource, RunSpec, reopen, tracking_uri, training_run

ROOT = Path(__file__).resolve().parents[2]
SHA = "0123456789abcdef" * 4


@pytest.fixture
def client(root: Path) -> Any:
    return MlflowClient(tracking_uri(root))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "profiles" / "demo.yaml")


def a_run(root: Path, **changes: Any) -> AbstractContextManager[Run]:
    spec: dict[str, Any] = {"stage": "train-unet@real", "settings": {"unet": {"width": 8}}}
    spec |= {key: changes.pop(key) for key in ("stage", "settings", "data", "tags", "parent") if key in changes}
    return training_run(RunSpec("unet", "a run", **spec), **{"root": root, "lineage": False, **changes})


class SmallUnet(nn.Module):
    """One level down and up, with dropout and a skip: what makes exporting a U-net free in size hard."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.low, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        skip = self.dropout(torch.relu(self.first(image)))
        low = nn.functional.interpolate(self.low(nn.functional.max_pool2d(skip, 2)), scale_factor=2.0)
        out: torch.Tensor = self.last(torch.cat([skip, low], 1))
        return out


def generator() -> nn.Module:
    convolution = nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 2, 5, padding=2))
    return nn.Sequential(
        nn.Linear(6, 8 * 16), nn.Unflatten(1, (8, 4, 4)), nn.BatchNorm2d(8), nn.ReLU(), nn.Upsample(scale_factor=2), convolution, nn.Tanh()
    )


def test_a_run_keeps_settings_curves_files_data_and_tags(root: Path, client: Any, settings: Settings, tmp_path: Path) -> None:
    picture = tmp_path / "samples.png"
    picture.write_bytes(b"picture")
    data = DataSource("real", SHA, str(root / "data" / "patches" / "site-a"), 4000)
    chosen = {"unet": settings.unet, "generators": {"wgan-gp": settings.generators["wgan-gp"]}, "note": None}
    with a_run(root, settings=chosen, data=data, tags={"start": "scratch"}) as run:
        for step in range(1200):
            run.metrics({"loss": 1.0 / (step + 1), "val_dsc": step / 2000}, step)
        run.artifact(picture, "samples")
        run.final({"val_dsc": 0.25})
    kept = client.get_run(run.id)
    assert kept.info.status == "FINISHED"
    assert kept.data.params["unet.width"] == str(settings.unet.width)
    assert kept.data.params["generators.wgan-gp.betas"] == "[0.0, 0.9]"
    assert kept.data.params["note"] == "None"
    history = client.get_metric_history(run.id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 1.0 / (step + 1)) for step in range(1200)]
    assert kept.data.metrics["val_dsc"] == 0.25, "the end value, not the curve's last, is shown"
    assert [file.path for file in client.list_artifacts(run.id, "samples")] == ["samples/samples.png"]
    tags = kept.data.tags
    assert {
        "dvc_stage": "train-unet@real",
        "data_digest": SHA,
        "start": "scratch",
        "mlflow.runName": "a run",
    }.items() <= tags.items()
    (entry,) = kept.inputs.dataset_inputs
    assert SHA.startswith(entry.dataset.digest)
    assert len(entry.dataset.digest) == 36
    assert (entry.dataset.name, json.loads(entry.dataset.profile)) == ("real", {"num_rows": 4000})
    assert json.loads(entry.dataset.source) == {"uri": "data/patches/site-a"}


def test_more_settings_than_one_call_takes(root: Path, client: Any) -> None:
    with a_run(root, settings={"part": {f"key{n}": n for n in range(250)}}) as run:
        pass
    assert client.get_run(run.id).data.params == {f"part.key{n}": str(n) for n in range(250)}


def test_the_commit_is_that_of_the_checkout(client: Any, root: Path) -> None:
    def git(*command: str) -> str:
        return subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True, text=True).stdout.strip()

    assert not (root / ".git").exists(), "a folder of the test's own, never a checkout"
    with a_run(root) as before:
        pass
    git("init", "-q")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "first")
    with a_run(root) as after:
        pass
    shutil.rmtree(root / ".git")
    assert client.get_run(after.id).data.tags["git_commit"] != client.get_run(before.id).data.tags["git_commit"]
    assert re.fullmatch(r"[0-9a-f]{40}", client.get_run(after.id).data.tags["git_commit"])


def test_nothing_of_the_machine_or_its_user_is_kept(root: Path, client: Any) -> None:
    outside = {"cohort": {"site_a": "/somewhere/of/a/user/scans", "site_b": str(root / "data" / "b"), "both": ["/x/y/scan"]}}
    data = DataSource("scans", SHA, "/somewhere/of/a/user/scans", 1)
    with a_run(root, settings=outside, data=data, tags={"folder": str(root / "data")}) as run:
        run.tag("more", "/somewhere/of/a/user/file")
    kept = client.get_run(run.id)
    assert kept.data.params == {"cohort.site_a": "scans", "cohort.site_b": "data/b", "cohort.both": '["scan"]'}
    assert set(kept.data.tags) == {"dvc_stage", "git_commit", "data_digest", "folder", "more", "mlflow.runName"}
    text = " ".join([*kept.data.tags.values(), *kept.data.params.values(), kept.inputs.dataset_inputs[0].dataset.source])
    assert not re.search(r"(^|[\s\"])/", text), f"an absolute path: {text}"
    assert socket.gethostname() not in text
    assert kept.info.user_id != getpass.getuser()


def test_values_that_are_not_finite_are_counted_not_logged(root: Path, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with a_run(root) as run:
        run.metrics({"loss": math.nan, "dsc": 0.5}, 1)
        run.metrics({"loss": math.inf, "dsc": 0.6}, 2)
    assert run.dropped == {"loss": 2}
    assert client.get_run(run.id).data.metrics == {"dsc": 0.6}
    assert client.get_run(run.id).data.tags["not_finite"] == "loss 2"
    assert "not logged: loss 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (InputError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_a_training_that_ends_badly(root: Path, client: Any, error: type[BaseException], status: str) -> None:
    ids: list[str] = []

    def train() -> None:
        with a_run(root, stage=f"train-{status}", lineage=True) as run:
            ids.append(run.id)
            run.metrics({"loss": 1.0}, 7)
            raise error("/a/path")

    with pytest.raises(error):
        train()
    kept = client.get_run(ids[0])
    assert (kept.info.status, kept.data.tags["failure"]) == (status, error.__name__)
    assert kept.data.metrics == {"loss": 1.0}, "what was buffered is kept"
    assert not (root / "lineage" / f"train-{status}.json").exists(), "an unfinished training has no lineage"


def test_a_child_names_its_parent(root: Path, client: Any) -> None:
    with a_run(root) as parent, a_run(root, parent=parent.id) as child:
        pass
    assert client.get_run(child.id).data.tags["mlflow.parentRunId"] == parent.id
    assert "mlflow.parentRunId" not in client.get_run(parent.id).data.tags


def test_the_machine_is_watched_while_a_run_lasts(root: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    before = threading.active_count()
    with a_run(root) as run, a_run(root, parent=run.id) as child:
        run.metrics({"val_dsc": 0.5}, 1)
        until = time.monotonic() + 10
        while "system/cpu_utilization_percentage" not in client.get_run(run.id).data.metrics and time.monotonic() < until:
            time.sleep(0.05)
    assert threading.active_count() == before
    logged = client.get_run(run.id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage", "val_dsc"} <= set(logged)
    assert not any(socket.gethostname() in name for name in logged)
    assert client.get_run(child.id).data.metrics == {}, "a child's machine is its parent's"


def test_reopening_by_stage_and_by_id(root: Path, client: Any) -> None:
    with a_run(
        root, stage="train-generator@dcgan", lineage=True, settings={"generator": {"steps": 5}}, data=DataSource("real", SHA, "data", 1)
    ) as run:
        run.metrics({"val_dsc": 0.1}, 40)
    kept = json.loads((root / "lineage" / "train-generator-dcgan.json").read_text())
    assert (kept["run_id"], kept["experiment"], kept["data_digest"], kept["store"]) == (run.id, "unet", SHA, "sqlite")
    assert str(root) not in json.dumps(kept)
    ended = client.get_run(run.id).info.end_time
    assert reopen("train-generator@dcgan", {"val_dsc": 0.05, "test_dsc": 0.8, "test_hd95_mm": math.inf}, root=root)
    assert reopen(run.id, {"test_dsc": 0.7}, root=root)
    again = client.get_run(run.id)
    assert again.data.metrics == {"val_dsc": 0.05, "test_dsc": 0.7}, "the later value is shown although its curve was higher"
    assert (again.info.status, again.info.end_time) == ("FINISHED", ended)


def test_reopening_what_is_not_there(root: Path, tmp_path: Path, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert not reopen("train-generator@never", {"test_dsc": 0.8}, root=root)
    assert "train-generator@never" in capsys.readouterr().err
    assert not reopen("f" * 32, {"test_dsc": 0.8}, root=root)
    with a_run(root, stage="train-generator@stale", lineage=True, settings={"generator": {"steps": 5}}) as run:
        pass
    assert not reopen("train-generator@stale", {"test_dsc": 0.8}, root=root, settings={"generator": {"steps": 6}})
    assert "other settings" in capsys.readouterr().err
    assert client.get_run(run.id).data.metrics == {}
    assert reopen("train-generator@stale", {"test_dsc": 0.8}, root=root, settings={"generator": {"steps": 5}})


def test_models_reload_free_in_batch_and_size(root: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    unet, draw = SmallUnet(), generator()
    patch = np.full((1, 1, 32, 32), 0.123456, np.float32)
    with a_run(root) as run:
        unet_uri = run.log_model(unet, patch, "unet", register="unet-small")
        draw_uri = run.log_model(draw, np.zeros((1, 6), np.float32), "generator", register="unet-small")
    assert unet.training
    assert draw.training, "the training's own network is left as it was"
    known = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))  # which the next line sets too: it shall not outlive the test
    mlflow.set_tracking_uri(tracking_uri(root))
    try:
        unet.eval()
        draw.eval()
        images, latent = torch.randn(5, 1, 48, 64), torch.randn(7, 6)
        with torch.no_grad():
            assert torch.equal(mlflow.pytorch.load_model(unet_uri)(images), unet(images))
            assert torch.equal(mlflow.pytorch.load_model(unet_uri)(images[:1]), unet(images[:1]))
            assert torch.equal(mlflow.pytorch.load_model(draw_uri)(latent), draw(latent))
            through_signature = mlflow.pyfunc.load_model(unet_uri).predict(images.numpy())
            np.testing.assert_array_equal(through_signature, unet(images).numpy())
        about = mlflow.models.get_model_info(unet_uri)
        folder = Path(mlflow.artifacts.download_artifacts(unet_uri))
    finally:
        mlflow.set_tracking_uri(known)
    assert [spec.shape for spec in (about.signature.inputs.inputs[0], about.signature.outputs.inputs[0])] == [(-1, 1, -1, -1)] * 2
    needs = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in needs} == {"mlflow", "torch", "numpy"}
    assert "0.123456" not in (folder / "input_example.json").read_text(), "a patient's patch does not travel with the model"
    assert not list(folder.rglob("*.pkl"))
    assert not list(folder.rglob("*.pth"))
    assert {version.run_id for version in client.search_model_versions("name='unet-small'")} == {run.id}
    assert len(client.get_run(run.id).outputs.model_outputs) == 2


def test_a_stage_that_was_killed_goes_on_in_its_run(root: Path, client: Any, tmp_path: Path) -> None:
    kept = tmp_path / "work" / "run.txt"
    data = DataSource("real", SHA, "data/patches/site-a", 40)
    with pytest.raises(SystemExit), a_run(root, data=data, resume=kept) as run, a_run(root, parent=run.id):
        raise SystemExit
    first = run.id
    assert client.get_run(first).info.status == "KILLED"
    with a_run(root, data=data, resume=kept) as run:
        assert client.get_run(run.id).info.status == "RUNNING"
        with a_run(root, parent=run.id):
            pass
        run.final({"val_dsc": 0.5})
    assert run.id == first
    logged = client.get_run(first)
    assert (logged.info.status, logged.data.metrics, logged.data.params) == ("FINISHED", {"val_dsc": 0.5}, {"unet.width": "8"})
    children = client.search_runs([logged.info.experiment_id], f"tags.mlflow.parentRunId = '{first}'")
    assert len(children) == 2
    client.delete_run(first)  # a run that is gone is made anew
    with a_run(root, data=data, resume=kept) as run:
        assert run.id != first
    assert kept.read_text() == run.id
