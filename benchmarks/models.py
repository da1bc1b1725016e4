"""Score U-nets trained on the pairs of all generators, at one budget and with several seeds, for the table of docs/results.md.

    python benchmarks/models.py [--seeds 1 2 3] [--models wgan-gp] [--device cuda] [--json] > models.jsonl
    python benchmarks/models.py --only MODEL,SEED [--device cuda] [--keep FOLDER] [--json] > MODEL-SEED.jsonl
    python benchmarks/models.py --jobs [--seeds 1 2 3] [--models wgan-gp]
    python benchmarks/models.py ... [--labels generator unet]
    python benchmarks/models.py --collect MODEL-SEED.jsonl ...

Run it in a project's folder after `dvc repro patches`, with the settings of its params.yaml and all entries of `generators`. For each seed
it trains a U-net on real patches (model `real`), then each generator, and a U-net on `synthesis.pairs` of the generator's pairs. The seed
sets networks, batches, synthesis and U-net; patches and patients do not change. Each model and seed is a separate job for --only; --jobs
prints the jobs, one per line, for parallel processes (xargs -P). Model `real:4` is a U-net on the real patches of 4 patients, drawn by
the seed: with a few such numbers of patients --collect looks up how many a synthetic set is worth.

--labels names the sources of labels that a generator's job scores, by default `synthesis.labels`. It prints a row for each, all from one
training of the generator: `wgan-gp:unet` is its set with labels of U-nets on the real patches, `unet.seeds` of them.

It prints one line for each job: mean DSC and 95HD in mm of the test patients, and the minutes of the generator's training. With --json the
line is an object: probe scores, validation scores, DSC, 95HD and clDice of every validation and test patient, the seconds of the
generator's training, of its pairs and of the U-net, and the processor. --keep writes the trained generator's weights and generator.json,
with which a project can synthesize from it and audit it. --collect prints the table of means and standard deviations over seeds. It does
not need MLflow, DVC or Optuna.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from angiosynth.compute.precision import device, on_device
from angiosynth.compute.threads import use_threads
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.evaluation.worth import patients_worth
from angiosynth.generators.registry import family_of
from angiosynth.generators.storage import save_generator
from angiosynth.metrics.segmentation import all_metrics
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.progress import tell
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.probe import UnetProbe
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import REAL, LabelSource, Settings, load_settings

SCORES = ("dsc", "hd95_mm", "cldice")
RELABELLED = ":unet"  # after the name of a generator whose set is labelled by U-nets on real patches


def with_seed(settings: Settings, seed: int) -> Settings:
    """Set the seed of generators, synthesis, U-net and the audit's draws; patients, patches and probe keep theirs."""
    generators = {name: generator.model_copy(update={"seed": seed}) for name, generator in settings.generators.items()}
    sections = {name: getattr(settings, name).model_copy(update={"seed": seed}) for name in ("synthesis", "unet", "audit")}
    return settings.model_copy(update={"generators": generators, **sections})


def made_by(
    model: str, settings: Settings, real: PatchSet, scans: Sequence[Scan], keep: Path | None = None
) -> tuple[PatchSet, dict[str, float]]:
    """Train a generator and draw a synthetic set from its selected checkpoint.

    Returns:
        The set; the probe scores, and the seconds of training and drawing. The generator's folder is written to `keep`.
    """
    start = time.perf_counter()
    generator, synthesis = settings.generator(model), settings.synthesis
    family = family_of(generator)
    with tempfile.TemporaryDirectory(prefix="angiosynth-models-") as folder:
        probe, checkpoints = UnetProbe(scans, settings.probe, real), Checkpoints(Path(folder))
        trained = family.train(model, generator, real, probe, checkpoints, NullRecorder())
        if keep is not None:
            with whole_folder(keep) as target:
                save_generator(target, trained, checkpoints, {"model": model})
    end = time.perf_counter()
    sampler = family.sampler(generator, real.size, trained.weights, device())
    image, label = sampler.pairs(synthesis.pairs, synthesis.seed, synthesis.label_threshold)
    seconds = {"generator_s": round(end - start, 1), "pairs_s": round(time.perf_counter() - end, 1)}
    return PatchSet(image, label, np.full(len(image), ""), np.arange(len(image)), real.meta, real.folder), trained.scores | seconds


def real_labeller(settings: Settings, real: PatchSet, validation: Sequence[Scan]) -> PatchLabeller:
    """Train the U-nets on real patches that label synthetic sets: `unet.seeds` of them, as stage train-unet does."""
    seeds = range(settings.unet.seed, settings.unet.seed + settings.unet.seeds)
    each = (settings.unet.model_copy(update={"seed": seed}) for seed in seeds)
    return PatchLabeller(tuple(train_segmenter(unet, real, validator(validation), NullRecorder()).segmenter for unet in each))


def relabelled(patches: PatchSet, labeller: PatchLabeller) -> PatchSet:
    """Return a synthetic set with the labels of U-nets."""
    return replace(patches, label=labeller.labels(np.asarray(patches.image)))


def worth(patches: PatchSet, settings: Settings, validation: Sequence[Scan], test: Sequence[Scan], title: str) -> dict[str, Any]:
    """Train a U-net on the patches and score it on whole scans."""
    trained = train_segmenter(settings.unet, patches, validator(validation), NullRecorder(), title)
    patients = {"validation": validation, "test": test}
    scores = {group: [patient_scores(trained.segmenter, scan) for scan in scans] for group, scans in patients.items()}
    return {**trained.scores, **scores}


def patient_scores(segmenter: Segmenter, scan: Scan) -> dict[str, float]:
    """Return DSC, 95HD in mm and clDice of a patient."""
    scores = all_metrics(scan.truth, segmenter.segment(scan.image, scan.brain), scan.spacing_mm)
    return {name: scores[name] for name in SCORES}


def real_patches(real: PatchSet, model: str, seed: int) -> PatchSet:
    """Return the real patches of model `real`, or of as many patients as `real:N` says, drawn by the seed."""
    _, _, count = model.partition(":")
    return real.of_patients(np.random.default_rng(seed).permutation(patients_of(real))[: int(count)].tolist()) if count else real


def patients_of(patches: PatchSet) -> list[str]:
    """Return the names of the patients of a set, sorted; [""] for synthetic pairs."""
    return sorted(set(patches.patient[patches.rows].tolist()))


@dataclass(frozen=True)
class Project:
    """The inputs of every job: settings, training patients' patches, validation and test scans."""

    settings: Settings
    real: PatchSet
    validation: Sequence[Scan]
    test: Sequence[Scan]


def open_project(settings: Settings) -> Project:
    """Read the project in the working folder."""
    home, site = Workspace(), settings.cohort.source
    split = load_split(home.splits, site)
    validation, test = (home.scans(settings, site, names) for names in (split.validation, split.test))
    return Project(settings, open_patch_set(home.patches(site)).of_patients(split.train), validation, test)


def measured(
    project: Project, model: str, seed: int, keep: Path | None = None, labels: Sequence[LabelSource] = ("generator",)
) -> Iterator[dict[str, Any]]:
    """Run one job, a model with a seed, and yield its rows: one, or of a generator one for each source of labels."""
    settings = with_seed(project.settings, seed)
    if model.partition(":")[0] == REAL:
        yield row_of(project, settings, model, real_patches(project.real, model, seed), {})
        return
    folder = None if keep is None else keep / f"{model}-seed-{seed}"
    patches, scores = made_by(model, settings, project.real, project.validation, folder)
    if "generator" in labels:
        yield row_of(project, settings, model, patches, scores)
    if "unet" in labels:
        labeller = real_labeller(settings, project.real, project.validation)
        yield row_of(project, settings, f"{model}{RELABELLED}", relabelled(patches, labeller), scores)


def row_of(project: Project, settings: Settings, model: str, patches: PatchSet, scores: dict[str, float]) -> dict[str, Any]:
    """Train a U-net on a set and return the row of a job: `scores` of its generator, and those of the U-net."""
    start, seed = time.perf_counter(), settings.unet.seed
    result = worth(patches, settings, project.validation, project.test, f"{model}, seed {seed}")
    processor = torch.cuda.get_device_name() if device().type == "cuda" else device().type
    seconds = {"unet_s": round(time.perf_counter() - start, 1), "processor": processor}
    return {"model": model, "seed": seed, **scores, "patients": len(patients_of(patches)), **result, **seconds}


def line(row: dict[str, Any]) -> str:
    """Format a row as one line of text."""
    dsc, hd95_mm, _ = test_means(row)
    minutes = f", generator {row['generator_s'] / 60:.1f} min" if "generator_s" in row else ""
    return f"{row['model']}, seed {row['seed']}: DSC {dsc:.3f}, 95HD {hd95_mm:.1f} mm{minutes}, {row['processor']}"


def test_means(row: dict[str, Any]) -> tuple[float, float, float]:
    """Return the means over the test patients: DSC, 95HD in mm, clDice."""
    dsc, hd95_mm, cldice = (float(np.mean([scores[name] for scores in row["test"]])) for name in SCORES)
    return dsc, hd95_mm, cldice


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return a Markdown table of each model's means over seeds.

    Columns: DSC with its standard deviation, 95HD, clDice, share of the real DSC, number of real patients with the same DSC (at most
    those of the least `real:N`, at least all), minutes of the generator's training.
    """
    yield "| trained on | DSC | deviation over seeds | 95HD, mm | clDice | share of real | worth, patients | minutes | seeds |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    scores = {
        model: np.array([test_means(row) for row in rows if row["model"] == model]) for model in dict.fromkeys(r["model"] for r in rows)
    }
    curve = learning_curve(rows, scores)
    for model, values in scores.items():
        dsc, hd95_mm, cldice = values.mean(axis=0)
        spread = f"{values[:, 0].std(ddof=1):.3f}" if len(values) > 1 else "-"
        generated = model.partition(":")[0] != REAL
        share = f"{dsc / scores[REAL][:, 0].mean():.3f}" if REAL in scores and generated else "-"
        patients = f"{patients_worth(dsc, *curve):.1f}" if len(curve[0]) > 1 and generated else "-"
        seconds = [row["generator_s"] for row in rows if row["model"] == model and "generator_s" in row]
        minutes = f"{np.mean(seconds) / 60:.1f}" if seconds else "-"
        yield f"| {model} | {dsc:.3f} | {spread} | {hd95_mm:.1f} | {cldice:.3f} | {share} | {patients} | {minutes} | {len(values)} |"


def learning_curve(rows: Sequence[dict[str, Any]], scores: dict[str, Any]) -> tuple[Any, Any]:
    """Return numbers of real patients, ascending, and the mean DSC of U-nets trained on the patches of so many."""
    counts = {row["model"]: row["patients"] for row in rows if row["model"].partition(":")[0] == REAL}
    points = sorted((count, scores[model][:, 0].mean()) for model, count in counts.items())
    return np.array([count for count, _ in points]), np.array([dsc for _, dsc in points])


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="real or names of generators; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--only", metavar="MODEL,SEED", help="one job")
    parser.add_argument("--labels", nargs="+", choices=get_args(LabelSource), help="by default synthesis.labels of params.yaml")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the folders of the trained generators there")
    parser.add_argument("--jobs", action="store_true", help="print the jobs, as arguments of --only")
    parser.add_argument("--collect", nargs="+", type=Path, metavar="ROWS.jsonl", help="print the table of rows written with --json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    if options.collect:
        tell(*table([json.loads(text) for path in options.collect for text in path.read_text(encoding="utf-8").splitlines()]))
        return
    settings = load_settings(Path("params.yaml"))
    jobs = [(model, seed) for seed in options.seeds for model in options.models or settings.training_data]
    if options.only:
        model, _, seed = options.only.rpartition(",")
        jobs = [(model, int(seed))]
    if options.jobs:
        tell(*(f"{model},{seed}" for model, seed in jobs))
        return
    keep_freed_memory()
    use_threads(settings.threads)
    project = open_project(settings)
    with on_device(options.device):
        for model, seed in jobs:
            for row in measured(project, model, seed, options.keep, options.labels or [settings.synthesis.labels]):
                tell(json.dumps(row) if options.json else line(row))


if __name__ == "__main__":
    main()
