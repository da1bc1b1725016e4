"""How often a scan of another person is taken for a near copy, and how often a processed copy is missed.

    python benchmarks/near_copies.py FOLDER... [--json]

Each FOLDER is a BIDS folder of scans of different people, such as data/phantom/site-a. All pairs of people in a folder, and copies of every
scan, changed in the ways that laboratories change scans, are compared as `cohort` and `import` compare them.
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
from angiosynth.data.copies import NEAR_COPY, correlation, fingerprint
from angiosynth.data.nifti import read_volume
from angiosynth.runtime.progress import progress

Change = Callable[[np.ndarray], np.ndarray]

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    people: list[float] = []
    copies: dict[str, list[float]] = {name: [] for name in CHANGES}
    for folder in options.folders:
        patients = find_patients(folder)
        prints = []
        for patient in progress(patients, f"{folder.name}", len(patients)):
            scan = read_volume(patient.image).array
            prints.append(fingerprint(scan))
            for name, change in CHANGES.items():
                changed = fingerprint(np.asarray(change(scan), np.float32))
                if sorted(changed.shape) == sorted(prints[-1].shape):  # of scans with few slices a resampled one has fewer blocks
                    copies[name].append(correlation(changed, prints[-1]))
        people += [correlation(one, other) for one, other in itertools.combinations(prints, 2) if one.shape == other.shape]
    rows = {"different people": people, **copies}
    print("| | pairs | least | median | most | said to be copies |\n|---|---:|---:|---:|---:|---:|")
    for name, values in rows.items():
        share = np.mean([value >= NEAR_COPY for value in values])
        print(f"| {name} | {len(values)} | {min(values):.2f} | {np.median(values):.2f} | {max(values):.2f} | {share:.0%} |")
    if options.json:
        print(json.dumps({name: [round(value, 4) for value in values] for name, values in rows.items()}))


if __name__ == "__main__":
    main()
