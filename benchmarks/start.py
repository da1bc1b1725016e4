"""Time the start of a stage, in a new process and in a fork of the warm process of `python cli.py repro`.

    python benchmarks/start.py [--runs 5] [--json]

The command is `train-unet` in a project without data: it imports all libraries of a training and ends with an error. Best of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from angiosynth.runtime.handover import VARIABLE
from angiosynth.runtime.warm import warm_server

ROOT = Path(__file__).resolve().parents[1]


def start(folder: Path, variables: dict[str, str]) -> float:
    """Run the command once and return its seconds."""
    command = [sys.executable, str(ROOT / "cli.py"), "train-unet", "--data", "real", "--params", str(ROOT / "params.yaml")]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="angiosynth-start-") as folder, warm_server(ROOT) as variables:
        start(Path(folder), variables)  # waits for the server's imports
        runs = [(start(Path(folder), {VARIABLE: ""}), start(Path(folder), variables)) for _ in range(options.runs)]
    alone, warm = (min(run[side] for run in runs) for side in (0, 1))
    print(f"| | s | ratio |\n|---|---:|---:|\n| by itself | {alone:.2f} | |\n| in a fork | {warm:.2f} | {alone / warm:.1f} |")
    if options.json:
        print(json.dumps({"alone_s": alone, "warm_s": warm, "ratio": alone / warm}))


if __name__ == "__main__":
    main()
