"""Cross-validate real patches, each generator's pairs and pre-training by leaving one patient out, for cohorts too small to split.

    python -m benchmarks.leave_one_out OUT [--pretrained models/unet/wgan-gp] [--second _desc-manual_mask] [--only TEST,TRAINING ...]

Run it in a project's folder. Scans are those of the source of section `cohort` in params.yaml, with all sizes of params.yaml. Each labelled
patient is the test patient of one fold. The next patient by name is the validation patient, who also selects checkpoints; the others train.
Each fold has:

- the best global threshold of the training patients;
- a U-net on their patches and, for each generator, a training on the same patches, a synthetic set and a U-net on the set;
- with 1, 2 and 3 of the training patients: a U-net from scratch and one initialised from --pretrained (a folder with a U-net trained
  elsewhere), by section `transfer`; and --pretrained without fine-tuning.

With --second, a second label next to the scan, if it exists, is scored too; the option is its ending. OUT/rows.jsonl has one line for each
U-net and fold with all metrics. A restart computes only missing lines. At the end it prints a table and draws OUT/leave-one-out.png.
--only computes some lines, such as sub-0590,wgan-gp, for several processes that share OUT; the first makes the patches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.compute.precision import on_device
from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import load_mask
from angiosynth.data.patches import PatchSet, build_patches, open_patch_set
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.metrics.segmentation import all_metrics
from angiosynth.report.style import Look, drawn, name_of
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.segmentation.training import train_segmenter, with_values_of
from angiosynth.segmentation.unet import Unet
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings, UnetSettings, load_settings
from benchmarks.models import made_by

COUNTS = (1, 2, 3)
SCRATCH, PRETRAINED, THRESHOLD, REAL = "scratch", "pretrained", "threshold", "real"
RESAMPLES = 10_000
TITLES = ("all training patients", "few patients")

Segment = Callable[[Scan], Mask]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Fold:
    """A fold: the test patient, the validation patient and the training patients, with the training patients' patches."""

    test: Scan
    second: Mask | None
    validation: Scan
    train: tuple[Patient, ...]
    patches: PatchSet
    settings: Settings
    pretrained: Path | None

    def segmenters(self) -> Iterator[tuple[str, int, Callable[[], Segment]]]:
        """Yield name, number of training patients of this cohort, and a function that trains the segmentation."""
        yield THRESHOLD, len(self.train), self._threshold
        yield REAL, len(self.train), lambda: self._unet(self.patches)
        for model in self.settings.generators:
            yield model, len(self.train), partial(self._generated, model)
        for count in COUNTS:
            yield SCRATCH, count, partial(self._tuned, count, None)
        if self.pretrained is not None:
            yield PRETRAINED, 0, partial(_loaded, self.pretrained)
            for count in COUNTS:
                yield PRETRAINED, count, partial(self._tuned, count, self.pretrained)

    def _generated(self, model: str) -> Segment:
        return self._unet(made_by(model, self.settings, self.patches, [self.validation])[0])

    def _threshold(self) -> Segment:
        cut = best_threshold(load_scan(patient, self.settings.cohort.intensity) for patient in self.train)
        return lambda scan: above(scan, cut)

    def _unet(self, patches: PatchSet) -> Segment:
        return self._trained(self.settings.unet, patches)

    def _tuned(self, count: int, start: Path | None) -> Segment:
        """Train on the first `count` training patients after the test patient, so that the subsets differ between folds."""
        unet = None if start is None else load_segmenter(start).unet
        patches = self.patches.of_patients([patient.id for patient in self.train[:count]])
        return self._trained(with_values_of(self.settings.transfer, self.settings.unet), patches, unet)

    def _trained(self, settings: UnetSettings, patches: PatchSet, unet: Unet | None = None) -> Segment:
        trained = train_segmenter(settings, patches, validator([self.validation]), NullRecorder(), unet=unet)
        return _whole(trained.segmenter)


def _loaded(folder: Path) -> Segment:
    return _whole(load_segmenter(folder))


def _whole(segmenter: Any) -> Segment:
    return lambda scan: segmenter.segment(scan.image, scan.brain)


def folds(settings: Settings, patches: PatchSet, patients: Sequence[Patient], pretrained: Path | None, second: str) -> Iterator[Fold]:
    """Yield a fold for each patient, in cyclic order of the names: the next patient validates, the following ones train."""
    for place, test in enumerate(patients):
        validation, *train = [*patients[place + 1 :], *patients[:place]]
        scan = load_scan(test, settings.cohort.intensity)
        path = Path(str(test.image).replace("_angio", second))
        yield Fold(
            scan,
            load_mask(path).volume.array if second and path.exists() else None,
            load_scan(validation, settings.cohort.intensity),
            tuple(train),
            patches.of_patients([patient.id for patient in train]),
            settings,
            pretrained,
        )


def measure(fold: Fold, rows: Rows, target: Path, only: Collection[str]) -> None:
    """Compute the results of a fold that are missing from the rows, or those of them in `only`, and append each to the file at once."""
    done = {(row["test"], row["training"], row["n_patients"]) for row in rows}
    for name, count, make in fold.segmenters():
        if (fold.test.patient, name, count) in done or (only and f"{fold.test.patient},{name}" not in only):
            continue
        say(f"{fold.test.patient} left out: {name}, {count} patients")
        prediction = make()(fold.test)
        row = {"test": fold.test.patient, "training": name, "n_patients": count}
        row |= all_metrics(fold.test.truth, prediction, fold.test.spacing_mm)
        if fold.second is not None:
            row |= {f"second_{key}": value for key, value in all_metrics(fold.second, prediction, fold.test.spacing_mm).items()}
        rows.append(row)
        with target.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def table(rows: Rows, generators: Sequence[str]) -> str:
    """Return a Markdown table: the mean over patients with its 95% bootstrap interval, and the paired gain over the threshold."""
    by = _by_training(rows)
    lines = [
        "| U-net trained on | DSC | 95% interval | gain over threshold | 95% interval | clDice | 95HD | second label |",
        "|---|---:|---|---:|---|---:|---:|---:|",
    ]
    base = by[THRESHOLD, base_count(by)]
    for (name, count), scores in by.items():
        gain = interval(scores["dsc"] - base["dsc"])
        mean, low, high = interval(scores["dsc"])
        cells = f"{gain[0]:+.3f} | {gain[1]:+.3f} to {gain[2]:+.3f}" if name != THRESHOLD else " | "
        label = _title(name, count)
        others = f"{scores['cldice'].mean():.3f} | {scores['hd95_mm'].mean():.1f} | {np.nanmean(scores['second_dsc']):.3f}"
        lines.append(f"| {label} | {mean:.3f} | {low:.3f} to {high:.3f} | {cells} | {others} |")
    pairs = [((PRETRAINED, count), (SCRATCH, count)) for count in COUNTS] + [
        ((model, base_count(by)), (REAL, base_count(by))) for model in generators
    ]
    for first, second in pairs:
        if first in by and second in by:
            mean, low, high = interval(by[first]["dsc"] - by[second]["dsc"])
            lines.append(f"\n{_title(*first)} less {_title(*second)}, paired: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    return "\n".join(lines)


def base_count(by: Mapping[tuple[str, int], Any]) -> int:
    """Return the number of training patients of a fold."""
    return max(count for name, count in by if name == THRESHOLD)


def _title(name: str, count: int) -> str:
    return f"{name_of(name)}, {count} patient{'s' * (count != 1)}" if name in (SCRATCH, PRETRAINED) else name_of(name)


def figure(rows: Rows, look: Look, path: Path) -> None:
    """Draw the DSC of each patient as a dot, with the second label as a ring, and the mean; left all training patients, right few."""
    by = _by_training(rows)
    left = [key for key in by if key[0] not in (SCRATCH, PRETRAINED)]
    right = [key for key in by if key[0] in (SCRATCH, PRETRAINED)]
    with drawn(path, 9.6, 3.9) as canvas:
        for axes, keys, title in zip(canvas.subplots(1, 2, sharey=True), (left, right), TITLES, strict=True):
            for place, key in enumerate(keys):
                scores, colour = by[key], look.colour(key[0])
                spread = np.linspace(-0.2, 0.2, len(scores["dsc"]))
                axes.scatter(place + spread, scores["dsc"], s=20, color=colour, alpha=0.6, lw=0)
                axes.scatter(place + spread, scores["second_dsc"], s=34, facecolors="none", edgecolors=colour, lw=1.2)
                axes.scatter([place + 0.36], [scores["dsc"].mean()], s=90, color=colour, marker="_", lw=2.2)
            axes.set_xticks(range(len(keys)), [_tick(*key) for key in keys], fontsize=8)
            axes.set_title(f"DSC on the patient left out: {title}")


def _tick(name: str, count: int) -> str:
    short = {SCRATCH: f"scratch,\n{count}", PRETRAINED: f"pre-\ntrained,\n{count}"}
    return short.get(name, name_of(name))


def _by_training(rows: Rows) -> Mapping[tuple[str, int], dict[str, np.ndarray]]:
    """Group rows: (training, number of patients) -> metric -> (patients,), sorted by test patient; NaN without a second label."""
    by: dict[tuple[str, int], Rows] = {}
    for row in sorted(rows, key=lambda row: str(row["test"])):
        by.setdefault((row["training"], row["n_patients"]), []).append(row)
    names = ("dsc", "cldice", "hd95_mm", "second_dsc")
    return {key: {name: np.array([row.get(name, np.nan) for row in group]) for name in names} for key, group in by.items()}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean and its 95% percentile bootstrap interval over patients."""
    draws = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pretrained", type=Path)
    parser.add_argument("--second", default="")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEST,TRAINING")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings = load_settings(Path("params.yaml"))
    scans = Path(settings.cohort.of_source.path)
    patients = [patient for patient in find_patients(scans) if patient.label]
    options.out.mkdir(parents=True, exist_ok=True)
    patches, target = options.out / "patches", options.out / "rows.jsonl"
    if not patches.exists():
        build_patches(scans, [patient.id for patient in patients], settings.patches, settings.cohort.intensity, patches)
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()] if target.exists() else []
    with on_device(options.device):
        for fold in folds(settings, open_patch_set(patches), patients, options.pretrained, options.second):
            measure(fold, rows, target, options.only)
    if options.only:
        return
    print(table(rows, tuple(settings.generators)))
    figure(rows, Look(tuple(settings.generators)), options.out / "leave-one-out.png")


if __name__ == "__main__":
    main()
