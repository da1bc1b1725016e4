"""Measure the time of `python cli.py repro`, as in `make demo`, for each stage, in a new clone of this project.

    python benchmarks/demo.py [--profile demo] [--stages STAGE ...] [--keep FOLDER] [--json]

The seconds of a stage include the start of Python and DVC's hashing. With parallel stages their sum exceeds the total. core_s is the
processor time of all processes. The clone is of the last commit, without uncommitted changes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from angiosynth.runtime.machine import processor
from angiosynth.verbs.repro import stage_of

ROOT = Path(__file__).resolve().parents[1]
DONE = re.compile(r"(\S+): done in (?:(\d+):(\d+) min|(\d+) s)$")  # printed at the end of a parallel stage


def reproduce(folder: Path, profile: str, stages: list[str]) -> dict[str, Any]:
    """Clone the project, set a profile and run the stages.

    Returns:
        Seconds by stage, total seconds, processor seconds, and the name of the processor.
    """
    python = Path(sys.executable)
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder / "src")}
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    subprocess.run([python, "cli.py", "profile", profile, "--force"], cwd=folder, env=environment, check=True, stdout=sys.stderr)
    seconds: dict[str, float] = {}
    used, start = _core_seconds(), time.monotonic()
    stage, begun = "", start
    command = [str(python), "cli.py", "repro", *stages]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr)
            if ended := DONE.match(line):
                minutes, rest, alone = ended[2], ended[3], ended[4]
                seconds[ended[1]] = 60.0 * int(minutes) + int(rest) if minutes else float(alone)
            elif stage_of(line) or line.startswith(("Use `dvc push`", "To track the changes")):
                if stage and stage not in seconds:
                    seconds[stage] = round(time.monotonic() - begun, 1)
                stage, begun = stage_of(line) or "", time.monotonic()
    if process.returncode:
        raise SystemExit(process.returncode)
    if stage and stage not in seconds:
        seconds[stage] = round(time.monotonic() - begun, 1)
    total = time.monotonic() - start
    return {
        "seconds": seconds,
        "total_s": round(total, 1),
        "core_s": round(_core_seconds() - used, 1),
        "processor": processor(),
    }


def _core_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--stages", nargs="*", default=[], help="these stages and those that they need; by default all")
    parser.add_argument("--keep", type=Path, help="clone into this new folder and keep it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory(prefix="angiosynth-demo-") as folder:
        measured = reproduce(Path(folder) / "project" if not options.keep else options.keep, options.profile, options.stages)
    print("| stage | s |\n|---|---:|")
    for stage, value in measured["seconds"].items():
        print(f"| {stage} | {value:.1f} |")
    print(f"| all | {measured['total_s']:.1f} |\n\n{measured['core_s']:.0f} core seconds, {measured['processor']}")
    if options.json:
        print(json.dumps(measured))


if __name__ == "__main__":
    main()
