"""What a second worker brings a sweep: the same few trials by `cli.py sweep` with one worker and with more, from a fresh store each time.

    python benchmarks/workers.py [--model wgan-gp-sn] [--trials 4] [--workers 2] [--steps 60] [--json]

Small heads are drawn and cut first, by the project's own commands and untimed, with the demo's generator (width 16, 32x32, batches of 32).
Every trial has the same number of critic iterations, so that each is as long as the others. Timed is the whole command, with starting
Python and the store, which weighs little in a sweep of hours and much in one of a minute; the seconds a trial took come from
trials.csv. Workers share the cores: on two, one worker has two threads, two have one each.
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
    """The demo's settings with fewer and smaller heads and short trials of one length."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / "demo.yaml").read_text(encoding="utf-8"))
    for site in tree["cohort"]["sites"]:
        tree["phantom"]["sites"][site] |= HEAD
        tree["cohort"]["sites"][site]["split"] = {"train": 3, "validation": 1, "test": 1}
    tree["transfer"]["patients"] = [1]
    tree["probe"] |= {"steps": 20, "pairs": 200}
    tree["sweep"] |= {"generator_steps": generator_steps, "pairs": 500, "unet_steps": 30, "ranges": {"critic_iterations": [2, 2]}}
    return tree


def command(folder: Path, *words: str) -> float:
    """Run one of cli.py's commands in a folder; gives its seconds. What it says is shown where it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "ANGIOSYNTH_"))}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), *words], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def sweep_seconds(prepared: Path, model: str, trials: int, workers: int) -> tuple[float, float]:
    """Seconds of the whole command and, in the mean, of a trial; in a copy of the prepared folder, so from nothing."""
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
        one, more = (round(times[workers], 2) for workers in (1, options.workers))
        print(json.dumps({"one_s": one, "more_s": more, "speedup": round(speedup, 3)}))


if __name__ == "__main__":
    main()
