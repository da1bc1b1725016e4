"""Few real patients with and without a released set before them: nnU-Net, pre-trained on the export, beside this project's U-net.

    python -m benchmarks.nnunet_transfer OUT --tools FOLDER [--package PACKAGE] [--folder SITE] [--json]

A small comparison, for the way and not for a ranking: two networks of 2d with some 100,000 weights, 200 steps on synthetic pairs, 100 steps
on two real patients, two others to score, one seed. nnU-Net's plans are those of the receiver's data set, moved to the export, with fewer
features and smaller patches than it would choose, and its weights go over by `-pretrained_weights`, as docs/exports.md has it.

--tools is the folder of `benchmarks.export_tools`. Without --package the pairs are drawn by the phantom with settings spread over its
ranges (400 of 32x32); without --folder the patients are those of another scanner of the phantom (hospital "faint" of
benchmarks/private_phantom.py, 96x112x24 voxels). --folder is a site in BIDS with masks and labels, as `import` makes it: its first two
patients train, the next are scored. OUT is a new folder for nnU-Net's data; it holds patients.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.patches import PatchSet
from angiosynth.exports.base import Card, Contents
from angiosynth.exports.nnunet import EXPORT, dataset_name
from angiosynth.exports.opening import open_contents
from angiosynth.generators.private_evolution.space import spread_points
from angiosynth.metrics.segmentation import dsc, hd95_mm
from angiosynth.reading import read_text
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import say
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import train_segmenter
from angiosynth.settings import UnetSettings
from benchmarks.private_hospitals import INTENSITY, SIZE, SPACING_MM, patches_of, patient
from benchmarks.private_phantom import set_of

nib: Any = nibabel

SYNTHETIC, TRAINED, SCORED = 400, 2, 2  # pairs, patients
PRETRAINING, FINE_TUNING, ITERATIONS = 200, 100, 25  # steps, and those of an epoch of nnU-Net
RECEIVER = 601
UNET = UnetSettings(width=8, steps=PRETRAINING, batch_size=16, learning_rate=2e-3, loss="dice_cross_entropy")
# What nnU-Net would plan is for GPUs: here three levels of 8 to 32 features, batches of 16 patches.
SMALL = {"batch_size": 16, "patch_size": [SIZE, SIZE]}
LEVELS = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
}
TRAINER = '''"""nnU-Net's trainer for so many short epochs."""

import os

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerShort(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):  # by these names nnU-Net keeps them
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["SHORT_EPOCHS"])
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = int(os.environ["SHORT_ITERATIONS"]), 1

    def perform_actual_validation(self, save_probabilities=False):
        pass
'''


class NnUnet:
    """nnU-Net in an environment of its own, its data below a folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder, self.programs = folder, programs
        for name in ("raw", "preprocessed", "results", "trainers"):
            (folder / name).mkdir(parents=True)
        (folder / "trainers" / "nnUNetTrainerShort.py").write_text(TRAINER, encoding="utf-8")
        places = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            **places,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            **{"nnUNet_extTrainer": str(folder / "trainers"), "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"},
            "SHORT_ITERATIONS": str(ITERATIONS),
        }

    def run(self, command: str, steps: int = 0) -> None:
        """Run one of its programs; `steps` of a training."""
        say(command)
        environment = self.environment | {"SHORT_EPOCHS": str(steps // ITERATIONS)}
        done = subprocess.run(command.split(), cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def train(self, dataset: int, plans: str, steps: int, weights: Path | None = None) -> Path:
        """Train on all cases of a data set; gives the folder of the result."""
        given = f" -pretrained_weights {weights}" if weights else ""
        self.run(f"nnUNetv2_train {dataset} 2d all -tr nnUNetTrainerShort -p {plans} -device cpu{given}", steps)
        return next((self.folder / "results").glob(f"Dataset{dataset}_*")) / f"nnUNetTrainerShort__{plans}__2d" / "fold_all"

    def predicted(self, scans: Sequence[Scan], plans: str, name: str) -> list[Any]:
        """Masks of scans by the network that was trained last on the receiver's set."""
        words = "-device cpu -npp 0 -nps 0 --disable_tta"
        self.run(f"nnUNetv2_predict -d {RECEIVER} -c 2d -f all -tr nnUNetTrainerShort -p {plans} -i scans -o {name} {words}")
        return [np.asarray(nib.load(self.folder / name / f"{one.patient}.nii.gz").dataobj) > 0 for one in scans]


def write_volume(path: Path, array: Any, spacing_mm: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1.0])), path)


def write_receiver(folder: Path, trained: Sequence[Scan], scored: Sequence[Scan], description: dict[str, Any]) -> None:
    """The receiver's raw data set, and the scans to predict, scaled as scale_scan.py of the export does: [0, 1], 0 outside the brain."""
    dataset = folder / "raw" / f"Dataset{RECEIVER}_receiver"
    for scan in trained:
        write_volume(dataset / "imagesTr" / f"{scan.patient}_0000.nii.gz", (scan.image + 1) / 2, scan.spacing_mm)
        write_volume(dataset / "labelsTr" / f"{scan.patient}.nii.gz", scan.truth.astype(np.uint8), scan.spacing_mm)
    for scan in scored:
        write_volume(folder / "scans" / f"{scan.patient}_0000.nii.gz", (scan.image + 1) / 2, scan.spacing_mm)
    write_json(dataset / "dataset.json", {**description, "numTraining": len(trained)})


def by_nnunet(
    programs: Path, contents: Contents, trained: Sequence[Scan], scored: Sequence[Scan], out: Path
) -> Iterator[tuple[str, list[Any]]]:
    """Predictions without and with pre-training on the export."""
    tool = NnUnet(programs, out)
    EXPORT.write(contents, out / "raw")
    name = dataset_name(contents)
    number = int(name[len("Dataset") :].partition("_")[0])
    write_receiver(out, trained, scored, json.loads(read_text(out / "raw" / name / "dataset.json")))
    tool.run(f"nnUNetv2_plan_and_preprocess -d {RECEIVER} -c 2d -npfp 1 -np 1")
    place = out / "preprocessed" / f"Dataset{RECEIVER}_receiver" / "nnUNetPlans.json"
    plans = json.loads(read_text(place))
    plans["configurations"]["2d"] |= SMALL
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"] |= LEVELS
    write_json(place, plans)
    tool.run(f"nnUNetv2_extract_fingerprint -d {number} -np 1")
    tool.run(f"nnUNetv2_move_plans_between_datasets -s {RECEIVER} -t {number} -sp nnUNetPlans -tp nnUNetPlans{RECEIVER}")
    # preprocess wants the description there, which only planning would have put there
    write_json(out / "preprocessed" / name / "dataset.json", json.loads(read_text(out / "raw" / name / "dataset.json")))
    tool.run(f"nnUNetv2_preprocess -d {number} -plans_name nnUNetPlans{RECEIVER} -c 2d -np 1")
    weights = tool.train(number, f"nnUNetPlans{RECEIVER}", PRETRAINING) / "checkpoint_final.pth"
    tool.train(RECEIVER, "nnUNetPlans", FINE_TUNING)
    yield "from scratch", tool.predicted(scored, "nnUNetPlans", "vessels-scratch")
    tool.train(RECEIVER, "nnUNetPlans", FINE_TUNING, weights)
    yield "pre-trained", tool.predicted(scored, "nnUNetPlans", "vessels-pretrained")


def by_unet(pairs: PatchSet, trained: Sequence[Scan], scored: Sequence[Scan]) -> Iterator[tuple[str, list[Any]]]:
    """Predictions of this project's U-net without and with pre-training on the same pairs."""
    few, tuned = patches_of(iter(trained)), UNET.model_copy(update={"steps": FINE_TUNING})
    before = train_segmenter(UNET, pairs, None, NullRecorder(), "pre-training").segmenter
    for start, unet in (("from scratch", None), ("pre-trained", copy.deepcopy(before.unet))):
        segmenter: Segmenter = train_segmenter(tuned, few, None, NullRecorder(), start, unet).segmenter
        yield start, [segmenter.segment(scan.image, scan.brain) for scan in scored]


def drawn_contents(seed: int) -> Contents:
    """Pairs of the phantom in the place of a package's."""
    points = spread_points(64, seed)
    whole = set_of(points, np.full(len(points), 1 / len(points)), seed)
    pairs = PatchSet(whole.image[:SYNTHETIC], whole.label[:SYNTHETIC], whole.patient[:SYNTHETIC], np.arange(SYNTHETIC), whole.meta, Path())
    facts = {"name": "drawn", "date": "2026-01-01", "model": "phantom", "n": SYNTHETIC, "size": SIZE, "intensity": INTENSITY}
    card = Card.model_validate({**facts, "patients_trained_on": 1, "set_digest": "0", "audit": {"verdicts": {"set": "not audited"}}})
    return Contents(Path(), card, facts, pairs, SPACING_MM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    words.out.mkdir(mode=0o700)
    contents = open_contents(words.package, None, words.out / "set")[0] if words.package else drawn_contents(seed=1)
    if words.folder:
        scans = [load_scan(one, contents.card.intensity) for one in find_patients(words.folder)[: TRAINED + SCORED] if one.label]
    else:
        scans = [patient("faint", number) for number in range(1, TRAINED + SCORED + 1)]
    trained, scored = scans[:TRAINED], scans[TRAINED:]
    rows: list[dict[str, Any]] = []
    for tool, tries in (
        ("U-net of this project", by_unet(contents.pairs, trained, scored)),
        ("nnU-Net", by_nnunet(words.tools / "nnunet" / "bin", contents, trained, scored, words.out.resolve() / "nnunet")),
    ):
        started = time.perf_counter()
        for start, masks in tries:
            seconds, started = time.perf_counter() - started, time.perf_counter()
            pairs = list(zip(scored, masks, strict=True))
            scores = {
                "dsc": [dsc(scan.truth, mask) for scan, mask in pairs],
                "hd95_mm": [hd95_mm(scan.truth, mask, scan.spacing_mm) for scan, mask in pairs],
            }
            rows.append({"tool": tool, "start": start, **scores, "s": round(seconds, 1)})
            write_json(words.out / "rows.json", {"rows": rows})  # the rest takes minutes
    if words.json:
        print(json.dumps(rows))
        return
    lines = ["| network | start | DSC | 95HD (mm) |", "|---|---|---:|---:|"]
    for row in rows:
        cells = (", ".join(f"{value:.{digits}f}" for value in row[name]) for name, digits in (("dsc", 3), ("hd95_mm", 1)))
        lines.append(f"| {row['tool']} | {row['start']} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
