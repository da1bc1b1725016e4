"""Train on few real patients with and without pre-training on a released set: nnU-Net and this project's U-net.

    python -m benchmarks.nnunet_transfer OUT --tools FOLDER [--package PACKAGE] [--folder SITE] [--json]

A small comparison that tests the procedure and does not rank the networks: two 2D networks with about 100,000 weights, 200 steps on
synthetic pairs, 100 steps on two real patients, two other patients for the scores, one seed. nnU-Net's plans are those of the receiver's
data set, moved to the export, with fewer features and smaller patches than nnU-Net would choose. Its weights are transferred by
`-pretrained_weights`, as in docs/exports.md.

--tools is the folder of `benchmarks.export_tools`. Without --package the phantom draws the pairs (400 of 32x32), with settings spread over
its ranges. Without --folder the patients are of another scanner of the phantom (hospital "faint" of benchmarks/private_phantom.py,
96x112x24 voxels). --folder is a site in BIDS with masks and labels, as written by `import`: its first two patients train, the next two are
scored. OUT is a new folder for nnU-Net's data; it contains patients' data.
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

SYNTHETIC, TRAINED, SCORED = 400, 2, 2  # synthetic pairs, training patients, scored patients
PRETRAINING, FINE_TUNING, ITERATIONS = 200, 100, 25  # steps of both trainings, and steps of an nnU-Net epoch
RECEIVER = 601
UNET = UnetSettings(width=8, steps=PRETRAINING, batch_size=16, learning_rate=2e-3, loss="dice_cross_entropy")
# nnU-Net plans networks for GPUs. These plans have three levels of 8 to 32 features and batches of 16 patches.
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
    """nnU-Net in a separate environment, with its data in a folder."""

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
        """Run one of nnU-Net's programs; `steps` is the length of a training."""
        say(command)
        environment = self.environment | {"SHORT_EPOCHS": str(steps // ITERATIONS)}
        done = subprocess.run(command.split(), cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def train(self, dataset: int, plans: str, steps: int, weights: Path | None = None) -> Path:
        """Train on all cases of a data set and return the folder of the result."""
        start = f" -pretrained_weights {weights}" if weights else ""
        self.run(f"nnUNetv2_train {dataset} 2d all -tr nnUNetTrainerShort -p {plans} -device cpu{start}", steps)
        return next((self.folder / "results").glob(f"Dataset{dataset}_*")) / f"nnUNetTrainerShort__{plans}__2d" / "fold_all"

    def predicted(self, scans: Sequence[Scan], plans: str, name: str) -> list[Any]:
        """Predict masks of scans with the network that was last trained on the receiver's set."""
        flags = "-device cpu -npp 0 -nps 0 --disable_tta"
        self.run(f"nnUNetv2_predict -d {RECEIVER} -c 2d -f all -tr nnUNetTrainerShort -p {plans} -i scans -o {name} {flags}")
        return [np.asarray(nib.load(self.folder / name / f"{scan.patient}.nii.gz").dataobj) > 0 for scan in scans]


def write_volume(path: Path, array: Any, spacing_mm: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1.0])), path)


def write_receiver(folder: Path, trained: Sequence[Scan], scored: Sequence[Scan], description: dict[str, Any]) -> None:
    """Write the receiver's raw data set and the scans to predict, scaled like scale_scan.py of the export: [0, 1], 0 outside the brain."""
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
    """Train nnU-Net without and with pre-training on the export; yield the start and its predictions."""
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
    # nnUNetv2_preprocess reads dataset.json from this folder, and only the skipped planning would have copied it.
    write_json(out / "preprocessed" / name / "dataset.json", json.loads(read_text(out / "raw" / name / "dataset.json")))
    tool.run(f"nnUNetv2_preprocess -d {number} -plans_name nnUNetPlans{RECEIVER} -c 2d -np 1")
    weights = tool.train(number, f"nnUNetPlans{RECEIVER}", PRETRAINING) / "checkpoint_final.pth"
    tool.train(RECEIVER, "nnUNetPlans", FINE_TUNING)
    yield "from scratch", tool.predicted(scored, "nnUNetPlans", "vessels-scratch")
    tool.train(RECEIVER, "nnUNetPlans", FINE_TUNING, weights)
    yield "pre-trained", tool.predicted(scored, "nnUNetPlans", "vessels-pretrained")


def by_unet(pairs: PatchSet, trained: Sequence[Scan], scored: Sequence[Scan]) -> Iterator[tuple[str, list[Any]]]:
    """Train this project's U-net without and with pre-training on the same pairs; yield the start and its predictions."""
    few, tuned = patches_of(iter(trained)), UNET.model_copy(update={"steps": FINE_TUNING})
    before = train_segmenter(UNET, pairs, None, NullRecorder(), "pre-training").segmenter
    for start, unet in (("from scratch", None), ("pre-trained", copy.deepcopy(before.unet))):
        segmenter: Segmenter = train_segmenter(tuned, few, None, NullRecorder(), start, unet).segmenter
        yield start, [segmenter.segment(scan.image, scan.brain) for scan in scored]


def drawn_contents(seed: int) -> Contents:
    """Draw pairs of the phantom that replace those of a package."""
    points = spread_points(64, seed)
    whole = set_of(points, np.full(len(points), 1 / len(points)), seed)
    pairs = PatchSet(whole.image[:SYNTHETIC], whole.label[:SYNTHETIC], whole.patient[:SYNTHETIC], np.arange(SYNTHETIC), whole.meta, Path())
    described = {"name": "drawn", "date": "2026-01-01", "model": "phantom", "n": SYNTHETIC, "size": SIZE, "intensity": INTENSITY}
    card = Card.model_validate({**described, "patients_trained_on": 1, "set_digest": "0", "audit": {"verdicts": {"set": "not audited"}}})
    return Contents(Path(), card, described, pairs, SPACING_MM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(mode=0o700)
    contents = open_contents(options.package, None, options.out / "set")[0] if options.package else drawn_contents(seed=1)
    if options.folder:
        patients = find_patients(options.folder)[: TRAINED + SCORED]
        scans = [load_scan(patient, contents.card.intensity) for patient in patients if patient.label]
    else:
        scans = [patient("faint", number) for number in range(1, TRAINED + SCORED + 1)]
    trained, scored = scans[:TRAINED], scans[TRAINED:]
    rows: list[dict[str, Any]] = []
    for tool, tries in (
        ("U-net of this project", by_unet(contents.pairs, trained, scored)),
        ("nnU-Net", by_nnunet(options.tools / "nnunet" / "bin", contents, trained, scored, options.out.resolve() / "nnunet")),
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
            write_json(options.out / "rows.json", {"rows": rows})  # saved now, because the remaining trainings take minutes
    if options.json:
        print(json.dumps(rows))
        return
    lines = ["| network | start | DSC | 95HD (mm) |", "|---|---|---:|---:|"]
    for row in rows:
        cells = (", ".join(f"{value:.{digits}f}" for value in row[name]) for name, digits in (("dsc", 3), ("hd95_mm", 1)))
        lines.append(f"| {row['tool']} | {row['start']} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
