"""Hospitals of the phantom whose scanners are far from its defaults, for what private evolution is worth: patients, patches, statistics."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.arrays import to_levels
from angiosynth.data.intensity import Scan
from angiosynth.data.patch_centres import cut_square, draw_centres, draw_unlabelled_centres
from angiosynth.data.patches import PatchSet
from angiosynth.generators.private_evolution.space import DIMENSIONS, RANGES, Candidate, candidate_at
from angiosynth.phantom.drawing import generate_patient
from angiosynth.runtime.progress import progress
from angiosynth.settings import PatchSettings, ScannerSettings

SHAPE, SPACING_MM, SIZE = (96, 112, 24), (1.6, 1.6, 2.0), 32
CUT = PatchSettings(size=SIZE, on_vessels=80, on_bright=60, in_brain=60)
INTENSITY: dict[str, Any] = {"rule": "volume", "low": 0.5, "high": 99.9}
TESTED = 6  # test patients of a hospital
BLOCK = 10  # patients in a file of the cache
# Hidden: nothing but the drawing of patients and the distances reads them. `dim` is an old scanner with one thick slab: blood is saturated
# long before its exit, and tissue stands out nearly as much. `bright` is the opposite: strong inflow, even tissue, hardly any noise.
HOSPITALS = {
    "faint": Candidate(3, 0.25, 0.25, 1.2, 1.6, 1.0, 0.15, 0.7, 0.4),
    "bright": Candidate(1, 0.02, 0.7, 2.7, 0.6, 1.0, 0.03, 0.2, 0.08),
    "dim": Candidate(1, 0.1, 0.75, 1.05, 1.9, 1.0, 0.05, 0.3, 0.3),
}
DRAWN = re.compile(r"drawn-([1-9]\d{0,3})")  # names of hospitals on which the evolution's constants are chosen, not reported
SCANNER_KEYS = [name for name in RANGES if name != "vein_contrast"]  # a site's veins have the phantom's own brightness


def hidden_settings(hospital: str) -> Candidate:
    """The scanner of a hospital; that of `drawn-N` is drawn evenly from the ranges, by N alone, with the veins that every site has."""
    if hospital in HOSPITALS:
        return HOSPITALS[hospital]
    matched = DRAWN.fullmatch(hospital)
    if not matched:
        raise ValueError(f"no hospital {hospital!r}: {', '.join(HOSPITALS)}, drawn-1, drawn-2 ...")
    return replace(candidate_at(np.random.default_rng([23, int(matched[1])]).random(DIMENSIONS)), vein_contrast=1.0)


def hospital_name(text: str) -> str:
    """Of a command's option."""
    try:
        hidden_settings(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def patient(hospital: str, number: int) -> Scan:
    """One patient of a hospital, scaled as section cohort.intensity does; odd numbers are healthy."""
    hidden = hidden_settings(hospital)
    scanner = ScannerSettings(patients=1, shape=SHAPE, spacing_mm=SPACING_MM, **{key: getattr(hidden, key) for key in SCANNER_KEYS})
    image, brain, label, _ = generate_patient(scanner, 11, number, number % 2 == 0, hospital)
    scaled = image.astype(np.float32)
    low, high = np.percentile(scaled[brain], (INTENSITY["low"], INTENSITY["high"]))
    scaled = np.clip((scaled - low) * 2 / (high - low) - 1, -1, 1).astype(np.float32)
    scaled[~brain] = -1
    return Scan(f"sub-{number:03d}", scaled, brain, label, SPACING_MM, Path(f"{hospital}-{number}"))


def patches_of(scans: Iterator[Scan], labelled: bool = True) -> PatchSet:
    """Patches of patients, cut as stage patches does, in memory; without labels they are centred where nobody needs a label."""
    images, labels, names = [], [], []
    for scan in scans:
        centres, _ = (draw_centres if labelled else draw_unlabelled_centres)(scan, CUT)
        for x, y, z in centres.tolist():
            images.append(to_levels(cut_square(scan.image[:, :, z], x, y, SIZE, -1.0)))
            labels.append(cut_square(scan.truth[:, :, z], x, y, SIZE, 0) & labelled)
            names.append(scan.patient)
    meta = {"intensity": INTENSITY, "labelled": labelled}
    return PatchSet(np.stack(images), np.stack(labels).astype(np.uint8), np.array(names), np.arange(len(names)), meta, Path())


def patches_of_hospital(hospital: str, count: int, folder: Path, labelled: bool = True) -> PatchSet:
    """Patches of a hospital's first `count` patients.

    They are drawn once and kept in the folder, BLOCK patients a file, so that jobs beside each other share them; a file appears whole.
    """
    blocks = []
    starts = range(1, count + 1, BLOCK)
    for start in progress(starts, f"patients of {hospital}", len(starts)):
        path = folder / f"{hospital}{'' if labelled else '-unlabelled'}-{start}.npz"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = patches_of((patient(hospital, number) for number in range(start, start + BLOCK)), labelled)
            partial = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(partial, image=made.image, label=made.label, patient=made.patient)
            partial.replace(path)
        with np.load(path) as kept:
            blocks.append([kept[name] for name in ("image", "label", "patient")])
    image, label, names = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    everybody = PatchSet(image, label, names, np.arange(len(image)), {"intensity": INTENSITY, "labelled": labelled}, Path())
    return everybody.of_patients([f"sub-{number:03d}" for number in range(1, count + 1)])


@lru_cache
def tested(hospital: str) -> tuple[Scan, ...]:
    """The hospital's test patients."""
    return tuple(patient(hospital, 1001 + number) for number in range(TESTED))
