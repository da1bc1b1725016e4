"""A training killed again and again ends like one that was never killed."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from angiosynth.generators.base import Sampler
from angiosynth.generators.gan.training import train_gan
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import NullRecorder
from tests.factories import tiny_generator, tiny_patches

KILLS, STEPS, SAVED_EVERY = 20, 400, 2


def _train(folder: Path) -> None:
    """To be run in a process of its own, on one thread so that it is the same arithmetic each time."""
    torch.set_num_threads(1)
    settings = tiny_generator("wgan-gp", steps=STEPS, checkpoint_every=SAVED_EVERY, probes=40)

    def probe(sampler: Sampler, step: int) -> dict[str, float]:
        return {"probe_dsc": float(sampler.pairs(4, step, None)[0].mean()) / 255}

    trained = train_gan("wgan-gp", settings, tiny_patches(), probe, Checkpoints(folder / "resume"), NullRecorder())
    kept = {step: torch.load(path, weights_only=True) for step, path in Checkpoints(folder / "resume").kept().items()}
    torch.save({"weights": trained.weights, "curve": trained.curve, "step": trained.step, "kept": kept}, folder / "trained.pt")


def _start(folder: Path) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    # Loaded once, not at each of the starts; torch's optimisers bring its compiler, which takes seconds.
    context.set_forkserver_preload(["tests.generators.gan.test_kills", "torch._dynamo"])
    process = context.Process(target=_train, args=(folder,))
    process.start()
    return process


def _newest(folder: Path) -> str:
    return max((path.name for path in (folder / "resume").glob("step-*.ckpt")), default="")


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = _start(whole)
    moments = random.Random(1)
    for kill in range(KILLS):
        stood = _newest(killed)
        process = _start(killed)
        until = time.monotonic() + 60
        while _newest(killed) <= stood and process.is_alive() and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.04))  # within a step, a probe, a save
        assert process.is_alive(), f"kill {kill}: the training ended before, so it can't be killed"
        process.kill()
        process.join(60)
        assert _newest(killed) > stood
    last = _start(killed)
    for process in (last, undisturbed):
        process.join(120)
        assert process.exitcode == 0
    results = [torch.load(folder / "trained.pt", weights_only=True) for folder in (whole, killed)]
    for name, value in results[0]["weights"].items():
        assert torch.equal(value, results[1]["weights"][name]), name
    assert results[0]["curve"] == results[1]["curve"]
    assert results[0]["step"] == results[1]["step"]
    assert len(results[0]["kept"]) == 40
    for step, weights in results[0]["kept"].items():
        assert all(torch.equal(value, results[1]["kept"][step][name]) for name, value in weights.items()), step
