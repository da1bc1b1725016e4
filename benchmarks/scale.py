"""Measure time and memory as functions of the number of patients, up to 41 volumes of 512x512x150 with 1,000 patches of 96x96 each.

    python benchmarks/scale.py FOLDER [--patients 5 10 20 41] [--shape 512 512 150] [--size 96] [--per-patient 1000] [--stages audit ...]

FOLDER gets one phantom with the largest number of patients, and for each number a workspace with so many of its patients: three fifths
train, one fifth validates and the rest tests. Each stage runs as its command in a separate process. GAN and U-net train only 20 steps,
because the time of a step does not depend on the number of patients; so their stages measure reading, probing and validation. The number of
synthetic pairs equals that of real patches.
FOLDER/scale.jsonl gets one JSON object for each stage: seconds, processor seconds, and the peaks of its memory: without and with the
pages of mapped files, which the system can reclaim. The first is sampled from /proc, so this runs on Linux. A restart computes only
missing objects. At the end it prints a table and draws FOLDER/scale.png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from angiosynth.report.style import drawn
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import say

ROOT = Path(__file__).resolve().parents[1]
MODEL = "wgan-gp-sn"
STAGES = {
    "cohort": ["cohort"],
    "patches": ["patches"],
    "train-generator": ["train-generator", "--model", MODEL],
    "synthesize": ["synthesize", "--model", MODEL],
    "select-unet": ["select-unet"],
    "train-unet": ["train-unet", "--data", "real"],
    "audit-references": ["audit-references"],
    "audit": ["audit", "--model", MODEL],
}
SHOWN = {
    "cohort": "#222222",
    "patches": "#E69F00",
    "train-generator": "#56B4E9",
    "synthesize": "#009E73",
    "train-unet": "#D55E00",
    "audit-references": "#0072B2",
    "audit": "#CC79A7",
}
STEPS = 20
SAMPLED_S = 0.05


def settings(options: argparse.Namespace, patients: int) -> dict[str, Any]:
    """Return the demo's params.yaml with the benchmark's sizes."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / "demo.yaml").read_text("utf-8"))
    site = tree["phantom"]["sites"]["site-a"] | {
        "patients": max(options.patients),
        "shape": options.shape,
        "spacing_mm": options.spacing_mm,
    }
    fifth = max(1, patients // 5)
    split = {"train": patients - 2 * fifth, "validation": fifth, "test": fifth}
    kinds = {"on_vessels": 0.4, "on_bright": 0.3, "in_brain": 0.3}
    changes = {
        "phantom": {"sites": {"site-a": site}},
        "cohort": {"sites": {"site-a": {"path": "scans", "split": split}}},
        "patches": {"size": options.size, **{name: round(share * options.per_patient) for name, share in kinds.items()}},
        "synthesis": {"pairs": patients * options.per_patient},
        "probe": {"steps": STEPS, "slice_stride": 10},
        "unet": {"width": 8, "steps": STEPS, "batch_size": 16, "validations": 1},
    }
    for section, values in changes.items():
        tree[section] |= values
    tree["generator_defaults"] |= {"probes": 1}
    tree["generators"][MODEL] |= {"steps": STEPS, "batch_size": 16}
    return tree


def command(arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a stage in a workspace.

    Returns:
        Seconds and processor seconds of the command and its child processes; peak of its memory in MB, without and with pages of files.
    """
    environment = {**os.environ, "ANGIOSYNTH_TRACKING": "off", "PYTHONPATH": str(ROOT / "src")}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *arguments], cwd=folder, env=environment)
    own, ended = 0.0, 0
    while not ended:
        own = max(own, own_memory_mb(process.pid))
        time.sleep(SAMPLED_S)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{folder}: {' '.join(arguments)} ended with {process.returncode}")
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "own_mb": own,
        "memory_mb": used.ru_maxrss / 1024,
    }


def own_memory_mb(process: int) -> float:
    """Memory of a running process without pages of files; 0 if it has ended."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines())
    return int(lines.get("RssAnon", "0").split()[0]) / 1024


def workspace(options: argparse.Namespace, patients: int) -> Path:
    """Make a folder with params.yaml and links to the first patients of the phantom."""
    folder: Path = options.folder / str(patients)
    scans = folder / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    for source in sorted((options.folder / "phantom" / "data" / "phantom" / "site-a").iterdir())[: patients + 3]:
        target = scans / source.name
        numbered = source.name.startswith("sub-")
        if not target.exists() and (not numbered or len(list(scans.glob("sub-*"))) < patients):
            target.symlink_to(source.resolve())
    (folder / "params.yaml").write_text(yaml.safe_dump(settings(options, patients), sort_keys=False), encoding="utf-8")
    return folder


def draw_phantom(options: argparse.Namespace) -> None:
    """Draw the volumes, unless they exist."""
    folder = options.folder / "phantom"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data" / "phantom" / "site-a").exists():
        (folder / "params.yaml").write_text(yaml.safe_dump(settings(options, max(options.patients)), sort_keys=False), encoding="utf-8")
        write_json(options.folder / "phantom.json", command(["phantom"], folder))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: processor seconds and peaks of memory of each stage, with numbers of patients as columns."""
    counts = sorted({row["patients"] for row in rows})
    cells = {(row["stage"], row["patients"]): row for row in rows}
    lines = [
        "| processor seconds / own MB / MB with files | " + " | ".join(f"{count} patients" for count in counts) + " |",
        "|---|" + "---:|" * len(counts),
    ]
    for stage in SHOWN:
        measured = [cells.get((stage, count)) for count in counts]
        texts = [f"{row['processor_seconds']:,.0f} / {row['own_mb']:,.0f} / {row['memory_mb']:,.0f}" if row else "" for row in measured]
        lines.append(f"| {stage} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw processor minutes (left) and the peak of memory without pages of files (right) of each stage against the number of patients."""
    with drawn(path, 9.6, 3.6) as canvas:
        left, right = canvas.subplots(1, 2)
        for stage, colour in SHOWN.items():
            series = sorted((row for row in rows if row["stage"] == stage), key=lambda row: int(row["patients"]))
            counts = [row["patients"] for row in series]
            left.plot(counts, [row["processor_seconds"] / 60 for row in series], color=colour, marker="o", ms=4, lw=1.6, label=stage)
            right.plot(counts, [row["own_mb"] / 1024 for row in series], color=colour, marker="o", ms=4, lw=1.6)
        left.set(title="processor time in minutes", xlabel="patients", ylim=(0, None))
        right.set(title="own memory in GB, at most", xlabel="patients", ylim=(0, None))
        left.legend(loc="upper left", fontsize=8)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", nargs="+", type=int, default=[5, 10, 20, 41])
    parser.add_argument("--shape", nargs=3, type=int, default=[512, 512, 150])
    parser.add_argument("--spacing-mm", nargs=3, type=float, default=[0.42, 0.42, 0.6])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--per-patient", type=int, default=1000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    draw_phantom(options)
    target = options.folder / "scale.jsonl"
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()] if target.exists() else []
    for patients in options.patients:
        folder = workspace(options, patients)
        for stage in options.stages:
            if any((row["stage"], row["patients"]) == (stage, patients) for row in rows):
                continue
            say(f"{patients} patients: {stage}")
            rows.append({"patients": patients, "stage": stage, **command(STAGES[stage], folder)})
            with target.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    figure(rows, options.folder / "scale.png")


if __name__ == "__main__":
    main()
