"""Measure the speedup of a sweep by parallel workers: equal trials of `cli.py sweep` with one and with more workers, each in a new store.

    python benchmarks/workers.py [--model wgan-gp-sn] [--trials 4] [--workers 2] [--steps 60] [--json]

First the project's commands draw small heads and cut patches, which is not timed. The generator is the demo's (width 16, 32x32, batches of
32). All trials have the same number of critic iterations, so that they have the same length. The whole command is timed, with the start of
Python and of the store, which matters in a sweep of a minute but not in one of hours. The seconds of a trial are read from trials.csv.
Workers share the cores: on two cores one worker has two threads, and two workers have one each.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from angiosynth.runtime.machine import cpu_count

ROOT = Path(__file__).resolve().parents[1]
HEAD = {"patients": 5, "shape": [112, 128, 32]}


def small_settings(generator_steps: int) -> dict[str, Any]:
    """Return the demo's settings with fewer and smaller heads, and with short trials of equal length."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / "demo.yaml").read_text(encoding="utf-8"))
    for site in tree["cohort"]["sites"]:
        tree["phantom"]["sites"][site] |= HEAD
        tree["cohort"]["sites"][site]["split"] = {"train": 3, "validation": 1, "test": 1}
    tree["transfer"]["patients"] = [1]
    tree["probe"] |= {"steps": 20, "pairs": 200}
    tree["sweep"] |= {"generator_steps": generator_steps, "pairs": 500, "unet_steps": 30, "ranges": {"critic_iterations": [2, 2]}}
    return tree


def command(folder: Path, *arguments: str) -> float:
    """Run a command of cli.py in a folder and return its seconds; print its output if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "ANGIOSYNTH_"))}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def sweep_seconds(prepared: Path, model: str, trials: int, workers: int) -> tuple[float, float]:
    """Run a sweep in a copy of the prepared folder, and return the seconds of the command and the mean seconds of a trial."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "work"
        shutil.copytree(prepared, folder)
        whole = command(folder, "sweep", "--model", model, "--trials", str(trials), "--workers", str(workers), "--study", "timed")
        with (folder / "mlruns" / "sweeps" / "timed" / "trials.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    if len(rows) != trials:
        raise SystemExit(f"{len(rows)} trials instead of {trials}: the times are of no use")
    return whole, statistics.mean(float(row["seconds"]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wgan-gp-sn", help="a generator of the demo")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", action="store_true", help='last line is {"one_s": x, "more_s": y, "speedup": z}')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        prepared = Path(parent)
        (prepared / "dvc.yaml").touch()  # the folder that holds mlruns/
        (prepared / "params.yaml").write_text(yaml.safe_dump(small_settings(options.steps)), encoding="utf-8")
        for name in ("phantom", "cohort", "patches"):
            command(prepared, name)
        times = {}
        for workers in (1, options.workers):
            times[workers], trial = sweep_seconds(prepared, options.model, options.trials, workers)
            print(f"{workers} at work: {times[workers]:.1f} s for {options.trials} trials, {trial:.1f} s a trial", flush=True)
    speedup = times[1] / times[options.workers]
    print(f"{options.workers} workers on {cpu_count()} cores: {speedup:.2f} times as fast as one")
    if options.json:
        one_s, more_s = (round(times[workers], 2) for workers in (1, options.workers))
        print(json.dumps({"one_s": one_s, "more_s": more_s, "speedup": round(speedup, 3)}))


if __name__ == "__main__":
    main()
