"""What MLflow logging costs a training: the same loop with tracking on and off, turn about, in one process.

The loop is three small convolutions, far cheaper than a real step, four curve values a step and one picture at the end. Opening the
store and the model's export happen once a run and are told apart from the loop.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from angiosynth.experiments.tracking import ensure_store, training_run
from angiosynth.runtime.recorder import Recorder


def train(recorder: Recorder, picture: Path, steps: int) -> float:
    """Seconds that `steps` steps take, logging included."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)
    )
    optimiser = torch.optim.Adam(network.parameters())
    images = torch.randn(16, 1, 64, 64)
    start = time.perf_counter()
    for step in range(steps):
        loss = nn.functional.mse_loss(network(images), images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = loss.item()
        recorder.metrics({"loss": value, "loss_dice": value, "learning_rate": 1e-3, "gradient_norm": value}, step)
    recorder.artifact(picture, "samples")
    return time.perf_counter() - start


def timed_run(root: Path, tracking: str, picture: Path, steps: int) -> tuple[float, float]:
    """Seconds of the loop, and of the whole run with opening and closing."""
    os.environ["ANGIOSYNTH_TRACKING"] = tracking
    start = time.perf_counter()
    with training_run("unet", "benchmark", stage="benchmark", settings={"steps": steps}, root=root, lineage=False) as run:
        loop = train(run, picture, steps)
    return loop, time.perf_counter() - start


def model_seconds(root: Path) -> float:
    """Seconds that logging a second model takes (the first pays for importing torch.export)."""
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))
    example = np.zeros((1, 1, 64, 64), np.float32)
    with training_run("unet", "benchmark", stage="benchmark", settings={}, root=root, lineage=False) as run:
        run.log_model(network, example, "first")
        start = time.perf_counter()
        run.log_model(network, example, "second")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help='last line is {"overhead": x}')
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        picture = root / "samples.png"
        picture.write_bytes(os.urandom(200_000))
        os.environ["ANGIOSYNTH_TRACKING"] = "on"
        start = time.perf_counter()
        ensure_store(root)
        print(f"store, once: {time.perf_counter() - start:.2f} s with the import of mlflow")
        timed_run(root, "on", picture, 3)
        rounds = [
            (timed_run(root, "off", picture, options.steps), timed_run(root, "on", picture, options.steps)) for _ in range(options.rounds)
        ]
        print(f"model, each: {model_seconds(root):.2f} s")
    ratio = 1.0
    # The fastest of the rounds: other programs only ever add to a time.
    for name, part in (("loop", 0), ("whole run", 1)):
        off, on = (min(each[side][part] for each in rounds) for side in (0, 1))
        ratio = on / off
        print(f"{name}: {off:.3f} s off, {on:.3f} s on, {ratio:.3f} times ({options.steps} steps, best of {options.rounds})")
    if options.json:
        print(json.dumps({"overhead": round(ratio, 4)}))


if __name__ == "__main__":
    main()
