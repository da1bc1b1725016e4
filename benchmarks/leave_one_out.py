"""Cross-validate real patches, each generator's pairs and pre-training by leaving one patient out, for cohorts too small to split.

    python -m benchmarks.leave_one_out OUT [--pretrained FOLDER] [--second _desc-manual_mask] [--together wgan-gp] [--relabel]
    python -m benchmarks.leave_one_out OUT ... --only TEST,TRAINING [TEST,TRAINING ...]

Run it in a project's folder. Scans are those of the source of section `cohort` in params.yaml, with all sizes of params.yaml. Each labelled
patient is the test patient of one fold. The next patient by name is the validation patient, who also selects checkpoints; the others train.
Each fold has:

- the best global threshold of the training patients;
- a U-net on their patches and, for each generator, a training on the same patches, a synthetic set (kept in OUT) and a U-net on the set;
- with the real patches of 1, 2 and 3 of them alone, the learning curve on which the worth of a set is looked up; and the same patches
  together with the set of each generator of --together, half of each batch real, half synthetic;
- with --relabel, a U-net on the set of each generator with labels of U-nets on the fold's real patches, `unet.seeds` of them;
- with --pretrained (a folder with a U-net trained elsewhere): that U-net without fine-tuning, and with 1, 2 and 3 of the training patients
  a U-net from scratch and one initialised from it, by section `transfer`.

With --second, a second label next to the scan, if it exists, is scored too; the option is its ending. OUT/rows.jsonl has one line for each
U-net and fold with all metrics. A restart computes only missing lines. At the end it prints a table and draws OUT/leave-one-out.png.
--only computes some lines, such as sub-0590,wgan-gp, for several processes that share OUT; the first makes the patches. Trainings on few
patients are real:1 and wgan-gp+real:1, that on other labels is wgan-gp:unet. --without leaves test patients out of table and figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from angiosynth.arrays import Mask
from angiosynth.compute.precision import on_device
from angiosynth.compute.threads import use_threads
from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.joined_patches import joined
from angiosynth.data.nifti import load_mask
from angiosynth.data.patches import PatchSet, build_patches, create_patch_arrays, open_patch_set
from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.metrics.segmentation import all_metrics
from angiosynth.report.style import Look
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.output import whole_folder, write_json
from angiosynth.runtime.progress import say
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.segmentation.training import train_segmenter, with_values_of
from angiosynth.segmentation.unet import Unet
from angiosynth.segmentation.validation import validator
from angiosynth.settings import REAL, Settings, UnetSettings, load_settings
from benchmarks.leave_one_out_tables import COUNTS, PRETRAINED, TOGETHER, Rows, figure, table
from benchmarks.models import RELABELLED, made_by, real_labeller, relabelled

Segment = Callable[[Scan], Mask]


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
    together: tuple[str, ...]
    relabel: bool
    sets: Path

    def segmenters(self) -> Iterator[tuple[str, int, Callable[[], Segment]]]:
        """Yield name, number of training patients of this cohort, and a function that trains the segmentation."""
        yield THRESHOLD, len(self.train), self._threshold
        yield REAL, len(self.train), lambda: self._unet(self.patches)
        for model in self.settings.generators:
            yield model, len(self.train), partial(self._generated, model)
        for model in self.settings.generators if self.relabel else ():
            yield f"{model}{RELABELLED}", len(self.train), partial(self._relabelled, model)
        for count in COUNTS:
            yield REAL, count, partial(self._alone, count)
            for model in self.together:
                yield f"{model}{TOGETHER}", count, partial(self._joined, model, count)
        if self.pretrained is not None:
            yield PRETRAINED, 0, partial(_loaded, self.pretrained)
            for count in COUNTS:
                yield SCRATCH, count, partial(self._tuned, count, None)
                yield PRETRAINED, count, partial(self._tuned, count, self.pretrained)

    def _made(self, model: str) -> PatchSet:
        """Train the generator and draw its set, or open the set of an earlier call."""
        folder = self.sets / f"{self.test.patient}-{model}"
        if not folder.exists():
            made, _ = made_by(model, self.settings, self.patches, [self.validation])
            with whole_folder(folder) as target:
                image, label = create_patch_arrays(target, len(made), made.size)
                image[:], label[:] = made.image, made.label
                write_json(target / "card.json", {"model": model, "intensity": self.patches.meta["intensity"]})
        return open_patch_set(folder)

    def _few(self, count: int) -> PatchSet:
        """The patches of the first `count` training patients after the test patient, so that the subsets differ between folds."""
        return self.patches.of_patients([patient.id for patient in self.train[:count]])

    def _generated(self, model: str) -> Segment:
        return self._unet(self._made(model))

    def _relabelled(self, model: str) -> Segment:
        return self._unet(relabelled(self._made(model), self._labeller))

    @cached_property
    def _labeller(self) -> PatchLabeller:
        return real_labeller(self.settings, self.patches, [self.validation])

    def _alone(self, count: int) -> Segment:
        return self._unet(self._few(count))

    def _joined(self, model: str, count: int) -> Segment:
        return self._unet(joined(self._made(model), self._few(count), self.sets))

    def _threshold(self) -> Segment:
        cut = best_threshold(load_scan(patient, self.settings.cohort.intensity) for patient in self.train)
        return lambda scan: above(scan, cut)

    def _unet(self, patches: PatchSet) -> Segment:
        return self._trained(self.settings.unet, patches)

    def _tuned(self, count: int, start: Path | None) -> Segment:
        unet = None if start is None else load_segmenter(start).unet
        return self._trained(with_values_of(self.settings.transfer, self.settings.unet), self._few(count), unet)

    def _trained(self, settings: UnetSettings, patches: PatchSet, unet: Unet | None = None) -> Segment:
        trained = train_segmenter(settings, patches, validator([self.validation]), NullRecorder(), unet=unet)
        return _whole(trained.segmenter)


def _loaded(folder: Path) -> Segment:
    return _whole(load_segmenter(folder))


def _whole(segmenter: Any) -> Segment:
    return lambda scan: segmenter.segment(scan.image, scan.brain)


def folds(settings: Settings, patches: PatchSet, patients: Sequence[Patient], options: argparse.Namespace) -> Iterator[Fold]:
    """Yield a fold for each patient, in cyclic order of the names: the next patient validates, the following ones train."""
    for place, test in enumerate(patients):
        validation, *train = [*patients[place + 1 :], *patients[:place]]
        scan = load_scan(test, settings.cohort.intensity)
        path = Path(str(test.image).replace("_angio", options.second))
        yield Fold(
            scan,
            load_mask(path).volume.array if options.second and path.exists() else None,
            load_scan(validation, settings.cohort.intensity),
            tuple(train),
            patches.of_patients([patient.id for patient in train]),
            settings,
            options.pretrained,
            tuple(options.together),
            options.relabel,
            options.out / "sets",
        )


def measure(fold: Fold, rows: Rows, target: Path, only: Collection[str]) -> None:
    """Compute the results of a fold that are missing from the rows, or those of them in `only`, and append each to the file at once."""
    done = {(row["test"], row["training"], row["n_patients"]) for row in rows}
    for name, count, make in fold.segmenters():
        job = f"{fold.test.patient},{name}" + f":{count}" * (0 < count < len(fold.train))
        if (fold.test.patient, name, count) in done or (only and job not in only):
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pretrained", type=Path)
    parser.add_argument("--second", default="")
    parser.add_argument("--together", nargs="+", default=[], metavar="GENERATOR")
    parser.add_argument("--relabel", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEST,TRAINING")
    parser.add_argument("--without", nargs="+", default=[], metavar="TEST")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings = load_settings(Path("params.yaml"))
    scans = Path(settings.cohort.of_source.path)
    patients = [patient for patient in find_patients(scans) if patient.label]
    use_threads(settings.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    patches, target = options.out / "patches", options.out / "rows.jsonl"
    if not patches.exists():
        build_patches(scans, [patient.id for patient in patients], settings.patches, settings.cohort.intensity, patches)
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()] if target.exists() else []
    with on_device(options.device):
        for fold in folds(settings, open_patch_set(patches), patients, options):
            measure(fold, rows, target, options.only)
    if options.only:
        return
    rows = [row for row in rows if row["test"] not in options.without]
    print(table(rows, tuple(settings.generators)))
    figure(rows, Look(tuple(settings.generators)), options.out / "leave-one-out.png")


if __name__ == "__main__":
    main()
