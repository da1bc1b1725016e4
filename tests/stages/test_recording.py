"""A record is worth less than what it records: whatever the recording does, a stage ends well, with its outputs."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from angiosynth.generators.gan import training as gan_training
from angiosynth.project.workspace import Workspace
from angiosynth.segmentation.training import train_segmenter
from angiosynth.stages import train_unet as unet_stage
from angiosynth.stages.audit import audit
from angiosynth.stages.evaluate import evaluate
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.transfer import transfer
from angiosynth.tracking import run
from angiosynth.tracking import runs as tracking
from angiosynth.tracking.run import StoreError
from angiosynth.tracking.store import PARENT
from tests.factories import lab_settings

SETTINGS = lab_settings(selection={"learning_rate": [1e-3, 1e-4]}, transfer__patients=[1])
FAULTS: tuple[Exception, ...] = (
    StoreError("database is locked"),
    OSError(errno.ENOSPC, "No space left on device", "somewhere"),
    FileNotFoundError(errno.ENOENT, "No usable temporary directory"),
    RuntimeError("PytorchStreamWriter failed writing file"),
    MemoryError(),
    ValueError("two\nlines"),
    KeyError("run"),
)


class Broken:
    """A store that begins runs and then fails in every call, each time in another way."""

    def __init__(self, faults: Iterator[Exception]) -> None:
        self.faults, self.calls = faults, set[str]()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> None:
            self.calls.add(name)
            if name not in ("log_params", "log_input"):  # at the start of a stage: there a refusal is an error
                raise next(self.faults)

        return call


@pytest.fixture
def broken(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> Broken:
    del home
    store = Broken(itertools.cycle(FAULTS))

    def begun(*parts: Any) -> tuple[Broken, str, bool]:
        if PARENT in parts[-1]:  # a child, in the middle of a stage
            raise next(store.faults)
        return store, "f" * 32, False

    def fails(*_: Any, **__: Any) -> None:
        raise next(store.faults)

    for name in ("watch_machine", "write_lineage", "open_if_there"):
        monkeypatch.setattr(tracking, name, fails)
    monkeypatch.setattr(tracking, "begun", begun)
    monkeypatch.setattr(run, "traceable", lambda module, shape: (module, shape, []))  # exporting takes seconds
    monkeypatch.delenv("ANGIOSYNTH_TRACKING")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    return store


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def resume_files() -> set[str]:
    """Apart from what preflight remembers of the networks' sizes."""
    return {name for name in files_of(Path(".work")) if not name.startswith("preflight/")}


def test_no_stage_is_lost_to_its_recording(home: Workspace, broken: Broken, capsys: pytest.CaptureFixture[str]) -> None:
    """Store, machine's load, lineage file, children's and earlier runs: each call of each fails, by turns in every way."""
    select_unet(SETTINGS, home)
    train_generator(SETTINGS, home, "wgan-gp")
    synthesize(SETTINGS, home, "wgan-gp")
    unet_stage.train_unet(SETTINGS, home, "real")
    unet_stage.train_unet(SETTINGS, home, "wgan-gp")
    evaluate(SETTINGS, home, "wgan-gp")
    transfer(SETTINGS, home, "real")
    audit(SETTINGS, home, "wgan-gp")
    assert len(Path("models/unet-choice.json").read_text().split("learning_rate")) == 4  # the choice, and two points
    assert {"generator.pt", "critic.pt", "generator.json", "samples.png"} <= files_of(home.generator("wgan-gp"))
    for data in ("real", "wgan-gp"):
        assert {"unet.pt", "unet.json", "curve.csv"} <= files_of(home.unet(data))
    assert len((home.metrics / "transfer" / "real.csv").read_text().splitlines()) > 1
    assert len((home.metrics / "patients" / "wgan-gp.csv").read_text().splitlines()) == 2
    assert {"audit.json", "index.html"} <= files_of(home.audit("wgan-gp"))
    assert not resume_files(), "resume files go in the end"
    assert broken.calls >= {"log_metrics", "log_file", "save_network", "set_tag", "close"}
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for text in ("not recorded, the work goes on", "lineage of train-generator@wgan-gp not kept", "No space left on device"):
        assert text in said


class LostError(BaseException):
    """As a kill: nothing of the project catches it."""


def test_a_kill_while_recording_costs_no_training(home: Workspace, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resume files are there until outputs are in place and recording was tried: the same command then trains nothing again."""

    def killed(*_: Any, **__: Any) -> None:
        raise LostError

    steps: list[str] = []
    real_step, real_fit = gan_training.GanTraining.train_step, train_segmenter

    def step(self: Any) -> Any:
        steps.append("gan")
        return real_step(self)

    def fit(*parts: Any, **words: Any) -> Any:
        steps.append("unet")
        return real_fit(*parts, **words)

    monkeypatch.setattr(gan_training.GanTraining, "train_step", step)
    monkeypatch.setattr(unet_stage, "train_segmenter", fit)
    stages: dict[str, Callable[[], None]] = {
        "gan": lambda: train_generator(SETTINGS, home, "dcgan"),
        "unet": lambda: unet_stage.train_unet(SETTINGS, home, "real"),
    }
    for name, stage in stages.items():
        with monkeypatch.context() as patch:
            patch.setattr(tracking.Run, "log_model", killed)
            with pytest.raises(LostError):
                stage()
        assert name in steps
        steps.clear()
        stage()
        assert not steps, f"{name} was trained again"
    assert not resume_files()


def test_the_model_is_logged_although_the_systems_temporary_folder_is_of_no_use(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    sent: list[Path] = []

    class Keeping:
        def save_network(self, network: Any, noise: Any, shapes: Any, target: Path) -> None:
            target.mkdir()

        def log_model_folder(self, run_id: str, name: str, folder: Path, step: int, register: str | None) -> str:
            sent.append(folder)
            return "models:/m-1"

    del home
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    store: Any = Keeping()
    assert run.Run(store, "id", Path.cwd()).log_model(torch.nn.Linear(3, 2), torch.zeros(2, 3).numpy(), "x") == "models:/m-1"
    assert sent
    assert not sent[0].exists()
