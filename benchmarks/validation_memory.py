"""Measure the memory that labelled scans take in a process, held in memory and mapped from disk as stages use them.

    python benchmarks/validation_memory.py BIDS_FOLDER [--json]

Each way loads all labelled scans in a process of its own. `private_mb` is memory that the system cannot take back, `mapped_mb` pages of
files, which it can. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import load_scan
from angiosynth.data.mapped_scans import mapped_scans
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import tell
from angiosynth.settings import IntensitySettings

WAYS = ("held", "mapped")
RULE = IntensitySettings(low=0.5, high=99.9)


def memory_mb() -> dict[str, float]:
    """Private memory and pages of files of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return {"private_mb": int(lines["RssAnon"].split()[0]) / 1024, "mapped_mb": int(lines["RssFile"].split()[0]) / 1024}


def measured(folder: Path, way: str) -> dict[str, Any]:
    """Load the scans in this process, read every voxel once, and return what that added."""
    patients = [patient for patient in find_patients(folder) if patient.label]
    before, start = memory_mb(), time.perf_counter()
    loading = (load_scan(patient, RULE) for patient in patients)
    with scratch_folder(Path("scans")) as scratch:
        scans = list(loading) if way == "held" else mapped_scans(loading, scratch)
        seconds, total = time.perf_counter() - start, sum(float(scan.image.sum()) for scan in scans)
        added = {name: value - before[name] for name, value in memory_mb().items()}
    return {"way": way, "scans": len(scans), "shape": list(scans[0].image.shape), "seconds": seconds, "sum": total, **added}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.only:
        tell(json.dumps(measured(options.folder, options.only)))
        return
    command = [sys.executable, "-m", "benchmarks.validation_memory", str(options.folder), "--only"]
    rows = [json.loads(subprocess.run([*command, way], check=True, capture_output=True, text=True).stdout) for way in WAYS]
    if options.json:
        tell(json.dumps(rows))
        return
    tell("| scans | private, MB | mapped, MB | loaded in, s |", "|---|---:|---:|---:|")
    tell(*(f"| {row['way']} | {row['private_mb']:.0f} | {row['mapped_mb']:.0f} | {row['seconds']:.1f} |" for row in rows))


if __name__ == "__main__":
    main()
