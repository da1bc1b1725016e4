"""A tracking server that goes away and comes back: nothing waits for it, nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from torch import nn

from angiosynth.errors import InputError
from angiosynth.tracking.journal import outboxes, waiting
from angiosynth.tracking.outbox import Outbox
from angiosynth.tracking.run import Run, StoreError
from angiosynth.tracking.runs import DataSource, RunSpec, end_lost, reopen, sync, training_run
from angiosynth.tracking.store import LOCAL
from tests import servers

DATA = DataSource("real", "0123456789abcdef" * 4, "data/patches/site-a", 40)


class PatientStore:
    """A store that notes what it is told; `away` it refuses, and `held` it does not answer at all."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.held = threading.Event()
        self.held.set()
        self.away = False

    def open(self) -> Any:
        self.held.wait()
        if self.away:
            raise StoreError("connection refused")
        return self

    def resolve(self, run_id: str) -> str:
        return run_id

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **named: self.told.append((name, *words, *named.values()))


def test_a_run_waits_for_no_answer(tmp_path: Path) -> None:
    store = PatientStore()
    store.held.clear()
    outbox = Outbox(tmp_path, store.open, "a" * 32)
    run = Run(outbox, outbox.id, tmp_path)
    for step in range(3):
        run.metrics({"loss": float(step)}, step)
        run.flush()  # would hang here, were it to wait
    assert waiting(tmp_path) == 3
    assert store.told == []
    store.held.set()
    run.end("FINISHED", "")
    outbox.finish()
    sent = [(rows[0][0], rows[0][1], rows[0][3]) for call, _, rows, *_ in store.told if call == "log_metrics"]
    assert sent == [("loss", 0.0, 0), ("loss", 1.0, 1), ("loss", 2.0, 2)]
    assert store.told[-1][:3] == ("close", "a" * 32, "FINISHED")
    assert list(outboxes(tmp_path).iterdir()) == []


def test_what_is_left_is_sent_by_the_next_process_and_a_line_cut_short_by_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = PatientStore()
    store.away = True
    picture = tmp_path / "samples.png"
    picture.write_bytes(b"picture")
    first = Outbox(tmp_path, store.open, "a" * 32)
    first.log_file("", picture, "samples")
    first.set_tag("", "verdict", "pass")
    first.finish()
    assert "2 entries are kept in mlruns/outbox" in capsys.readouterr().err
    picture.unlink()
    (box,) = outboxes(tmp_path).iterdir()
    with (box / "journal.jsonl").open("a") as journal:
        journal.write('{"call": "set_tag", "key": "cut')  # the process was killed as it wrote
    store.away = False
    second = Outbox(tmp_path, store.open, "b" * 32)
    second.set_tag("", "verdict", "fail")
    second.finish()
    assert [(call, run_id) for call, run_id, *_ in store.told] == [("log_file", "a" * 32), ("set_tag", "a" * 32), ("set_tag", "b" * 32)]
    assert list(outboxes(tmp_path).iterdir()) == []


def test_what_a_server_refuses_is_kept_apart_and_holds_nothing_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Refusing(PatientStore):
        def log_params(self, *_: Any, **__: Any) -> None:
            raise StoreError("too long", away=False)

    store = Refusing()
    outbox = Outbox(tmp_path, store.open, "a" * 32)
    outbox.log_params("", [("key", "x" * 9000)])
    outbox.set_tag("", "verdict", "pass")
    outbox.finish()
    assert [call for call, *_ in store.told] == ["set_tag"]
    assert "the server refused log_params: too long" in capsys.readouterr().err
    assert json.loads((outboxes(tmp_path) / "refused.jsonl").read_text())["run"] == "a" * 32


def test_a_local_store_has_nothing_to_send(root: Path) -> None:
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI names no server"):
        sync(root)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"http://lab:{servers.PASSWORD}@127.0.0.1:1", r"no answer \(http://lab:\*\*\*@127.0.0.1:1: Connection refused\)"),
        (f"postgresql://lab:{servers.PASSWORD}@127.0.0.1:1/mlflow", r"no answer \(.*refused\)"),
        (f"htp://lab:{servers.PASSWORD}@127.0.0.1:1", r"tracking store refused \(.*unsupported URI 'htp://lab:\*\*\*@"),
    ],
)
def test_a_server_that_is_not_there_is_one_line_without_password(
    uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=said) as caught:
        sync(tmp_path)
    assert servers.PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


def history(client: Any, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))


@pytest.mark.service
@pytest.mark.long
def test_a_server_killed_in_the_middle_and_restarted(
    server_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port, root = servers.free_port(), tmp_path / "project"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")

    def a_run(experiment: str, name: str, **words: Any) -> AbstractContextManager[Run]:
        place: dict[str, Any] = {"root": root, "lineage": words.pop("lineage", False), "resume": words.pop("resume", None)}
        return training_run(RunSpec(experiment, name, stage=name, settings={"unet": {"width": 8}}, **words), **place)

    with servers.mlflow_server(server_home, port) as kill:
        with a_run("transfer", "two parts", resume=tmp_path / "run.txt") as first:
            first.final({"val_dsc": 0.5}, 1)
        training = a_run("unet", "long", data=DATA)
        run = training.__enter__()
        run.final({"loss": 1.0}, 1)
        client: Any = MlflowClient(f"http://127.0.0.1:{port}")
        while not client.get_run(run.id).data.metrics:
            time.sleep(0.05)
        kill()
    run.final({"loss": 0.5}, 2)
    # All of a GAN's training, of a child and of the test scores that a later stage adds, while there is no server.
    with a_run("generator", "train-generator@dcgan", data=DATA, lineage=True) as whole:
        for step in range(1200):
            whole.metrics({"loss": 1 / (step + 1)}, step)
        whole.log_model(nn.Linear(4, 1), np.zeros((1, 4), np.float32), "generator", register="generator-dcgan")
    with a_run("unet", "child", parent=whole.id) as child:
        child.final({"val_dsc": 0.25}, 7)
    with a_run("transfer", "two parts", resume=tmp_path / "run.txt") as second:
        second.final({"val_dsc": 0.75}, 2)
    assert second.id == first.id, "a stage that was killed goes on in its run without the server too"
    lineage = root / "lineage" / "train-generator-dcgan.json"
    assert whole.id == json.loads(lineage.read_text())["run_id"]
    assert {whole.id[:6], child.id[:6]} == {LOCAL}
    assert reopen("train-generator@dcgan", {"test_dsc": 0.75}, root=root)
    assert end_lost("sweep trial 1", whole.id, root) == ""
    run.final({"loss": 0.25}, 3)
    assert not run.failed
    said = capsys.readouterr().err
    assert said.count("the run is kept in mlruns/outbox until it does") == 3
    kept = shutil.copytree(outboxes(root), tmp_path / "kept")

    with servers.mlflow_server(server_home, port):
        run.final({"loss": 0.125}, 4)
        training.__exit__(None, None, None)
        for repeated in (False, True):
            if repeated:  # as if no confirmation had ever come back
                for box in kept.iterdir():
                    shutil.copytree(box, outboxes(root) / box.name)
                sync(root)
            assert [path.name for path in outboxes(root).iterdir()] == []
            assert history(client, run.id, "loss") == [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125)]
            everywhere = [entry.experiment_id for entry in client.search_experiments()]
            runs = {entry.info.run_name: entry for entry in client.search_runs(everywhere)}
            assert Counter(entry.info.run_name for entry in client.search_runs(everywhere)) == Counter(
                ["long", "train-generator@dcgan", "child", "sweep trial 1", "two parts"]
            )
            states = {name: entry.info.status for name, entry in runs.items()}
            assert states.pop("sweep trial 1") == "KILLED"
            assert set(states.values()) == {"FINISHED"}
            assert history(client, first.id, "val_dsc") == [(1, 0.5), (2, 0.75)]
            gan = runs["train-generator@dcgan"]
            assert json.loads(lineage.read_text())["run_id"] == gan.info.run_id
            assert gan.data.tags["started_as"] == whole.id
            assert gan.info.end_time < runs["long"].info.end_time, "times are those of the training, not of the sending"
            assert history(client, gan.info.run_id, "loss") == [(step, 1 / (step + 1)) for step in range(1200)]
            assert history(client, gan.info.run_id, "test_dsc") == [(0, 0.75)]
            assert gan.data.params == {"unet.width": "8"}
            assert [entry.dataset.name for entry in gan.inputs.dataset_inputs] == ["real"]
            assert {runs[name].data.tags["mlflow.parentRunId"] for name in ("child", "sweep trial 1")} == {gan.info.run_id}
            assert history(client, runs["child"].info.run_id, "val_dsc") == [(7, 0.25)]
            (version,) = client.search_model_versions("name = 'generator-dcgan'")
            assert version.run_id == gan.info.run_id
            (model,) = client.search_logged_models(everywhere)
            assert [output.model_id for output in client.get_run(gan.info.run_id).outputs.model_outputs] == [model.model_id]
