"""Measure the cost of MLflow logging: the training loop of a generator of the demo with tracking on and off, in turns, in one process.

    python benchmarks/tracking.py [--model wgan-gp] [--steps 100] [--rounds 3] [--json]

The loop is the training of the stage with the settings of profiles/demo.yaml (width 16, 32x32, batches of 32) on random patches. Curves and
samples are sent to the store as in `dvc repro`, and the machine's load is recorded. The probe is left out, so the last generator is kept.
Rounds start with off and with on alternately. The costs of opening and closing a run and of exporting the model, which occur once, are
reported separately from the loop: an epoch of the demo has 250 steps, a run 1,500.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import GeneratorSettings, TrainedGenerator
from angiosynth.generators.registry import family_of
from angiosynth.report.figures import contact_sheet
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.recorder import NullRecorder, Recorder
from angiosynth.settings import load_settings
from angiosynth.tracking.runs import RunSpec, ensure_store, training_run

DEMO = Path(__file__).resolve().parents[1] / "profiles" / "demo.yaml"
PATCHES = 1024
SHOWN = 32  # number of pairs in the contact sheet


def demo_generator(model: str, steps: int) -> tuple[GeneratorSettings, int]:
    """Return a generator of the demo with `steps` steps and without probe, and the side of its patches."""
    settings = load_settings(DEMO)
    short = {"steps": steps, "checkpoint_choice": "last", "checkpoint_every": steps + 1}
    return settings.generator(model).model_copy(update=short), settings.patches.size


def drawn_patches(size: int) -> PatchSet:
    """Draw images of noise with bright discs; the discs are the label."""
    rng = np.random.default_rng(1)
    x, y = np.mgrid[:size, :size]
    centres, radii = rng.uniform(0, size, (PATCHES, 2, 1, 1)), rng.uniform(1, size / 8, (PATCHES, 1, 1))
    label = ((x - centres[:, 0]) ** 2 + (y - centres[:, 1]) ** 2 < radii**2).astype(np.uint8)
    image = (rng.integers(40, 100, label.shape) + 120 * label).astype(np.uint8)
    return PatchSet(image, label, np.full(PATCHES, ""), np.arange(PATCHES), {}, Path())


def no_probe(*_: object) -> dict[str, float]:
    raise AssertionError("the generator that is kept is the last one")


@dataclass(frozen=True)
class Training:
    """A training: name and settings of the generator, and its patches."""

    model: str
    settings: GeneratorSettings
    patches: PatchSet

    def run(self, recorder: Recorder) -> TrainedGenerator:
        probe: Any = no_probe
        with tempfile.TemporaryDirectory() as resume:
            family = family_of(self.settings)
            return family.train(self.model, self.settings, self.patches, probe, Checkpoints(Path(resume)), recorder)


def timed_run(root: Path, tracking: str, training: Training, picture: Path) -> tuple[float, float]:
    """Return the seconds of the loop, with curves and picture sent, and of the whole run, with opening and closing."""
    os.environ["ANGIOSYNTH_TRACKING"] = tracking
    start = time.perf_counter()
    settings = {"model": training.model, "generator": training.settings}
    with training_run(RunSpec("generator", training.model, stage="benchmark", settings=settings), root=root, lineage=False) as run:
        begun = time.perf_counter()
        training.run(run)
        run.artifact(picture)
        run.flush()
        loop = time.perf_counter() - begun
    return loop, time.perf_counter() - start


def model_seconds(root: Path, training: Training) -> float:
    """Return the seconds for logging a second generator; the first one also imports torch.export."""
    trained = training.run(NullRecorder())
    sampler = family_of(training.settings).sampler(training.settings, training.patches.size, trained.weights, torch.device("cpu"))
    os.environ["ANGIOSYNTH_TRACKING"] = "on"
    with training_run(RunSpec("generator", training.model, stage="benchmark", settings={}), root=root, lineage=False) as run:
        run.log_model(sampler.network, sampler.example(), "first")
        start = time.perf_counter()
        run.log_model(sampler.network, sampler.example(), "second")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wgan-gp", help="a generator of the demo")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help='last line is {"overhead": x}: the loop, on against off')
    options = parser.parse_args()
    keep_freed_memory()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"):
        os.environ.pop(name, None)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    generator, size = demo_generator(options.model, options.steps)
    patches = drawn_patches(size)
    training, warm = (Training(options.model, each, patches) for each in (generator, demo_generator(options.model, 3)[0]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        picture = root / "samples.png"
        levels = torch.from_numpy(patches.image[:SHOWN].astype(np.float32)) / 127.5 - 1
        contact_sheet(levels.numpy(), patches.label[:SHOWN], picture)
        os.environ["ANGIOSYNTH_TRACKING"] = "on"
        start = time.perf_counter()
        ensure_store(root)
        print(f"store, once: {time.perf_counter() - start:.2f} s with the import of mlflow")
        timed_run(root, "on", warm, picture)
        times: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
        for number in range(options.rounds):
            for tracking in ("off", "on") if number % 2 == 0 else ("on", "off"):
                times[tracking].append(timed_run(root, tracking, training, picture))
        print(f"model, each: {model_seconds(root, warm):.2f} s")
    ratios = {}
    for column, name in enumerate(("loop", "whole run")):
        off, on = ([seconds[column] for seconds in times[side]] for side in ("off", "on"))
        # The fastest round counts, because other programs can only add time. The median ratio of the rounds shows the uncertainty.
        ratios[name] = min(on) / min(off)
        pairs = statistics.median(a / b for a, b in zip(on, off, strict=True))
        steps = f"{options.steps} steps, best of {options.rounds}; median of the rounds {pairs:.3f}"
        print(f"{name}: {min(off):.2f} s off, {min(on):.2f} s on, {ratios[name]:.3f} times ({steps})")
    if options.json:
        print(json.dumps({"overhead": round(ratios["loop"], 4)}))


if __name__ == "__main__":
    main()
