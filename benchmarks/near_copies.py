"""Measure how often scans of two people are taken for near copies, and how often a processed copy is missed.

    python -m benchmarks.near_copies FOLDER... [--json] [--brains]
    python -m benchmarks.near_copies --two-sites [--json]

Each FOLDER is a BIDS folder of scans of different people, such as data/phantom/site-a. All pairs of people in a folder, and each scan with
its changed copies, are compared as `cohort` and `import` compare them. The changes are common steps of image processing. --brains compares
only the brains, in the bounding boxes of their masks, because data sets strip, pad or crop each other's scans. --two-sites draws two sites
of the phantom with different scanners, four heads each, which share one scan, and compares the brains of one site with those of the other.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from angiosynth.data.bids import find_patients
from angiosynth.data.copies import NEAR_COPY, brain_fingerprint, correlation, fingerprint
from angiosynth.data.nifti import read_volume
from angiosynth.phantom.drawing import generate_patient
from angiosynth.runtime.progress import progress
from angiosynth.settings import ScannerSettings
from benchmarks.private_hospitals import HOSPITALS, SCANNER_KEYS

HEADS = 4  # number of heads of a drawn site
Change = Callable[[np.ndarray], np.ndarray]
BrainChange = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

CHANGES: dict[str, Change] = {
    "Gaussian filter, 1 voxel": lambda scan: ndimage.gaussian_filter(scan, 1.0),
    "median filter, 3 voxels": lambda scan: ndimage.median_filter(scan, 3),
    "rounded to 32 levels": lambda scan: np.round(scan / np.ptp(scan) * 32),
    "noise of a tenth of the deviation": lambda scan: scan + np.random.default_rng(1).normal(0, 0.1 * scan.std(), scan.shape),
    "bias field of 30%": lambda scan: scan * np.linspace(0.7, 1.3, scan.shape[0])[:, None, None],
    "square root": lambda scan: np.sqrt(scan - scan.min()),
    "resampled to 0.8": lambda scan: ndimage.zoom(scan, 0.8, order=1),
    "moved by 2 voxels": lambda scan: np.roll(scan, 2, axis=0),
    "cropped by 3 to 5 voxels": lambda scan: scan[4:, 2:-3, 3:],
    "mirrored": lambda scan: ndimage.gaussian_filter(scan[::-1], 0.5),
}


def with_skull(scan: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the brain into a larger volume with noise and a bright shell around it."""
    margins = ((20, 10), (30, 25), (5, 40))
    larger, mask = np.pad(scan, margins), np.pad(brain, margins)
    shell = ndimage.binary_dilation(mask, iterations=6) & ~ndimage.binary_dilation(mask, iterations=2)
    around = np.abs(np.random.default_rng(0).normal(0, 0.1 * scan.std(), larger.shape)) + shell * scan.max() / 2
    return np.where(mask, larger, around), mask


BRAIN_CHANGES: dict[str, BrainChange] = {
    "a skull of noise around it, padded": with_skull,
    "a mask 2 voxels smaller": lambda scan, brain: (scan, ndimage.binary_erosion(brain, iterations=2)),
    "a mask 2 voxels larger": lambda scan, brain: (scan, ndimage.binary_dilation(brain, iterations=2)),
    "resampled to 0.7": lambda scan, brain: (ndimage.zoom(scan, 0.7, order=1), ndimage.zoom(brain.astype(np.float32), 0.7, order=1) > 0.5),
    "the lowest eighth cut off": lambda scan, brain: (scan[:, :, scan.shape[2] // 8 :], brain[:, :, scan.shape[2] // 8 :]),
}


def compared_brains(folders: list[Path]) -> dict[str, list[float]]:
    """Correlate the brains of different people of a folder, and each brain with its changed copies."""
    rows: dict[str, list[float]] = {name: [] for name in ("different people", *BRAIN_CHANGES)}
    for folder in folders:
        patients = [patient for patient in find_patients(folder) if patient.brain]
        prints = []
        for patient in progress(patients, f"{folder.name}", len(patients)):
            assert patient.brain is not None
            scan, brain = read_volume(patient.image).array, read_volume(patient.brain).array > 0.5
            prints.append(brain_fingerprint(scan, brain))
            for name, change in BRAIN_CHANGES.items():
                changed = brain_fingerprint(*change(scan, brain))
                if sorted(changed.shape) == sorted(prints[-1].shape):
                    rows[name].append(correlation(changed, prints[-1]))
        rows["different people"] += [
            correlation(first, second) for first, second in itertools.combinations(prints, 2) if first.shape == second.shape
        ]
    return rows


def drawn_head(hospital: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scan of a hospital's scanner, and its brain mask."""
    keys = {key: getattr(HOSPITALS[hospital], key) for key in SCANNER_KEYS}
    scanner = ScannerSettings(patients=1, shape=(160, 192, 72), spacing_mm=(0.96, 0.96, 1.0), **keys)
    scan, brain, _, _ = generate_patient(scanner, 11, number, number % 2 == 0, hospital)
    return scan.astype(np.float32), brain


def compared_sites() -> dict[str, list[float]]:
    """Correlate the brains of two drawn sites: of different people, and of the shared scan; 0 for fingerprints of different shapes."""
    prints = [brain_fingerprint(*drawn_head("faint", number)) for number in range(1, HEADS + 1)]
    others = [brain_fingerprint(*drawn_head("bright", number)) for number in range(HEADS + 1, 2 * HEADS)]
    scan, brain = drawn_head("faint", 1)  # the shared scan, which is the last head of the second site
    pairs = [*itertools.product(prints, others), *((prints[0], head) for head in prints[1:])]
    rows = {"different people of two sites": [correlation(first, second) for first, second in pairs if first.shape == second.shape]}
    for name, change in {"the shared scan, as it is": lambda *arrays: arrays, **BRAIN_CHANGES}.items():
        copied = brain_fingerprint(*change(scan, brain))
        rows[name] = [correlation(copied, prints[0]) if copied.shape == prints[0].shape else 0.0]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--brains", action="store_true")
    parser.add_argument("--two-sites", action="store_true")
    options = parser.parse_args()
    by_folder = compared_brains if options.brains else compared
    rows = compared_sites() if options.two_sites else by_folder(options.folders)
    print("| | pairs | least | median | most | said to be copies |\n|---|---:|---:|---:|---:|---:|")
    for name, values in rows.items():
        share = np.mean([value >= NEAR_COPY for value in values])
        print(f"| {name} | {len(values)} | {min(values):.2f} | {np.median(values):.2f} | {max(values):.2f} | {share:.0%} |")
    if options.json:
        print(json.dumps({name: [round(value, 4) for value in values] for name, values in rows.items()}))


def compared(folders: list[Path]) -> dict[str, list[float]]:
    """Correlate whole scans: of different people of a folder, and each scan with its changed copies."""
    people: list[float] = []
    copies: dict[str, list[float]] = {name: [] for name in CHANGES}
    for folder in folders:
        patients = find_patients(folder)
        prints = []
        for patient in progress(patients, f"{folder.name}", len(patients)):
            scan = read_volume(patient.image).array
            prints.append(fingerprint(scan))
            for name, change in CHANGES.items():
                changed = fingerprint(np.asarray(change(scan), np.float32))
                if sorted(changed.shape) == sorted(prints[-1].shape):  # a resampled scan with few slices has fewer blocks
                    copies[name].append(correlation(changed, prints[-1]))
        people += [correlation(first, second) for first, second in itertools.combinations(prints, 2) if first.shape == second.shape]
    return {"different people": people, **copies}


if __name__ == "__main__":
    main()
