"""A training that is killed or told to stop, and started again, ends like one that was left alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from angiosynth.generators.base import Sampler
from angiosynth.generators.gan.training import train_gan
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import NullRecorder
from tests.factories import few_samples, tiny_generator, tiny_patches

pytestmark = pytest.mark.waits

MODEL = "wgan-gp-sn"  # it has the most state: singular vectors beside weights and moments
KILLS, STEPS, SAVED_EVERY, PROBES = 6, 60, 2, 6


def _train(folder: Path) -> None:
    """To be run in a separate process, on one thread so that sums are in the same order each time."""
    torch.set_num_threads(1)
    settings = tiny_generator(MODEL, steps=STEPS, checkpoint_every=SAVED_EVERY, probes=PROBES)

    def probe(sampler: Sampler, step: int) -> dict[str, float]:
        return {"probe_dsc": float(sampler.pairs(4, step, None)[0].mean()) / 255}

    few_samples(pytest.MonkeyPatch())  # of this process, which ends after it
    with (folder / "messages.txt").open("a", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        trained = train_gan(MODEL, settings, tiny_patches(), probe, Checkpoints(folder / "resume"), NullRecorder())
    kept = {str(step): torch.load(path, weights_only=True) for step, path in Checkpoints(folder / "resume").kept().items()}
    torch.save({"weights": trained.weights, "curve": trained.curve, "step": trained.step, "kept": kept}, folder / "trained.pt")


def _start(folder: Path) -> BaseProcess:
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    # Loaded once, not at each of the starts; torch's optimisers bring its compiler, which takes seconds.
    context.set_forkserver_preload(["tests.generators.gan.test_kills", "torch._dynamo"])
    process = context.Process(target=_train, args=(folder,))
    process.start()
    return process


def _newest(folder: Path) -> str:
    return max((path.name for path in (folder / "resume").glob("step-*.ckpt")), default="")


def _wait_for_a_save(process: BaseProcess, folder: Path, after: str) -> None:
    until = time.monotonic() + 120
    while _newest(folder) <= after and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    assert _newest(folder) > after


def _result(process: BaseProcess, folder: Path) -> Any:
    process.join(120)
    assert process.exitcode == 0
    return torch.load(folder / "trained.pt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Begins a training that is left alone, beside the others; a call waits for its result."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = _start(folder)
    return lambda: _result(process, folder)


def _check_equal(result: Any, expected: Any) -> None:
    assert result["curve"] == expected["curve"]
    assert result["step"] == expected["step"]
    assert len(expected["kept"]) == PROBES
    weights = {f"{step} {name}": value for step, kept in expected["kept"].items() for name, value in kept.items()}
    others = {f"{step} {name}": value for step, kept in result["kept"].items() for name, value in kept.items()}
    for name, value in (expected["weights"] | weights).items():
        assert torch.equal(value, (result["weights"] | others)[name]), name


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(undisturbed: Callable[[], Any], tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    moments = random.Random(1)
    for kill in range(KILLS):
        before = _newest(folder)
        process = _start(folder)
        _wait_for_a_save(process, folder, before)
        time.sleep(moments.uniform(0.0, 0.03))  # within a step, a probe, a save
        assert process.is_alive(), f"kill {kill}: the training ended before, so it can't be killed"
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "trained.pt").exists()
    _check_equal(_result(_start(folder), folder), undisturbed())


@pytest.mark.slow
def test_sigterm_saves_the_present_step_and_the_next_start_goes_on_to_the_same_end(undisturbed: Callable[[], Any], tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    process = _start(folder)
    _wait_for_a_save(process, folder, f"step-{6:08d}.ckpt")
    process.terminate()
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    (stopped_at,) = re.findall(r"stopped by a signal, saved at step (\d+)", (folder / "messages.txt").read_text())
    assert _newest(folder) == f"step-{int(stopped_at):08d}.ckpt"
    result = _result(_start(folder), folder)
    assert f"goes on at step {stopped_at}" in (folder / "messages.txt").read_text()
    _check_equal(result, undisturbed())
