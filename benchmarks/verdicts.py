"""Run the demo with several seeds, and compare each set's DSC and the verdict of its audit between seeds.

    python -m benchmarks.verdicts FOLDER [--models wgan-gp] [--seeds 1 2 3 4 5] [--no-audit | --same-set] [--jobs N] [--json]

Run it in a project's folder after `dvc repro patches`, with the settings of its params.yaml. For each seed it runs the stages select-unet
and train-unet on real patches, and for each model train-generator, synthesize, train-unet, evaluate and audit, in FOLDER/seed-<n> and
without tracking. The seed sets networks, batches, synthesis, U-net and audit; patches, patients and all other settings do not change.
Existing results of a seed's folder are kept, so an interrupted call can be continued.

With --same-set, after a whole `dvc repro`, only the audit gets the seed: the set and the generator are the project's. A second call in
another folder, with ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY of an older processor, shows whether the verdict depends on rounding.

FOLDER/verdicts.jsonl gets one JSON object per line: model and seed, DSC and 95HD of each test patient, the verdicts, and the state of each
measure. It does not need MLflow or DVC, and uses a GPU if one is available.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from angiosynth.evaluation.patients import read_scores
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import read_json
from angiosynth.runtime.progress import say
from angiosynth.settings import REAL, Settings, load_settings
from angiosynth.stages.audit import audit
from angiosynth.stages.evaluate import evaluate
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import train_unet
from benchmarks.models import with_seed

ROWS = "verdicts.jsonl"


def one_seed(folder: Path, seed: int, models: Sequence[str], audited: bool) -> list[dict[str, Any]]:
    """Run all stages of one seed, and return a row for real patches and for each model."""
    settings, home = with_seed(load_settings(Path("params.yaml")), seed), Workspace(folder / f"seed-{seed}")
    home.root.mkdir(parents=True, exist_ok=True)
    select_unet(settings, home)
    _scored(settings, home, REAL)
    rows = [{"model": REAL, "seed": seed, **_scores(home, REAL)}]
    for model in models:
        start = time.perf_counter()
        if not home.generator(model).exists():
            train_generator(settings, home, model)
        if not home.synthetic(model).exists():
            synthesize(settings, home, model)
        _scored(settings, home, model)
        if audited and not home.audit(model).exists():
            audit(settings, home, model)
        verdict = _verdict(home.audit(model) / "audit.json") if audited else {}
        rows.append({"model": model, "seed": seed, **_scores(home, model), **verdict, "s": round(time.perf_counter() - start, 1)})
    return rows


def one_audit(folder: Path, seed: int, models: Sequence[str]) -> list[dict[str, Any]]:
    """Audit the project's finished sets with a seed, and return a row for each model, with the scores of the project's U-nets."""
    settings, home = load_settings(Path("params.yaml")), Workspace(folder / f"audit-{seed}")
    settings = settings.model_copy(update={"audit": settings.audit.model_copy(update={"seed": seed})})
    for name in ("models", "data/synthetic"):
        (home.root / name).parent.mkdir(parents=True, exist_ok=True)
        if not (home.root / name).exists():
            (home.root / name).symlink_to(Path(name).resolve())
    for model in models:
        if not home.audit(model).exists():
            audit(settings, home, model)
    return [{"model": model, "seed": seed, **_scores(Workspace(), model), **_verdict(home.audit(model) / "audit.json")} for model in models]


def _scored(settings: Settings, home: Workspace, data: str) -> None:
    if not home.unet(data).exists():
        train_unet(settings, home, data)
    if not home.predictions(data).exists():
        evaluate(settings, home, data)


def _scores(home: Workspace, data: str) -> dict[str, Any]:
    scores = read_scores(home.metrics / "patients" / f"{data}.csv")
    return {"dsc": {score.patient: score.dsc for score in scores}, "hd95_mm": {score.patient: score.hd95_mm for score in scores}}


def _verdict(path: Path) -> dict[str, Any]:
    result = read_json(path)
    return {"verdicts": result["verdicts"], "measures": {finding["name"]: finding["state"] for finding in result["findings"]}}


def summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return for each model the mean DSC of each seed, its share of the DSC of real patches, and the number of seeds with each verdict."""
    mean = {(row["model"], row["seed"]): sum(row["dsc"].values()) / len(row["dsc"]) for row in rows}
    figures: dict[str, Any] = {}
    for model in sorted({name for name, _ in mean}):
        dsc = {seed: value for (name, seed), value in sorted(mean.items()) if name == model}
        ratio = {seed: round(value / mean[REAL, seed], 4) for seed, value in dsc.items() if (REAL, seed) in mean}
        verdicts = [row["verdicts"] for row in rows if row["model"] == model and row.get("verdicts")]
        counts = {name: dict(Counter(verdict[name] for verdict in verdicts)) for name in (verdicts[0] if verdicts else ())}
        figures[model] = {"dsc": {seed: round(value, 4) for seed, value in dsc.items()}, "share_of_real": ratio, "verdicts": counts}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["wgan-gp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    audits = parser.add_mutually_exclusive_group()
    audits.add_argument("--no-audit", action="store_true")
    audits.add_argument("--same-set", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="number of seeds in parallel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    os.environ |= {"ANGIOSYNTH_TRACKING": "off", "OMP_NUM_THREADS": "1"}  # inherited by the worker processes
    options.folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        if options.same_set:
            jobs = [pool.submit(one_audit, options.folder, seed, options.models) for seed in options.seeds]
        else:
            jobs = [pool.submit(one_seed, options.folder, seed, options.models, not options.no_audit) for seed in options.seeds]
        for job in as_completed(jobs):
            # A failed seed has no row; the next call continues it.
            if fault := job.exception():
                say(f"a seed failed: {fault!r}")
                continue
            rows += job.result()
            (options.folder / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = summary(rows)
    for model, values in figures.items():
        print(model, values)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
