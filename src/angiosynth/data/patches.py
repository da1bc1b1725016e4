"""Patch sets: pairs of image and label cut from axial slices, memory-mapped.

A set is a folder with image.npy and label.npy, both (n, x, y) uint8. A real one also has index.csv (patient, slice,
centre, kind) and set.json; a synthetic one has card.json.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from angiosynth.arrays import ImagePatches, LabelPatches, Mask, from_levels, to_levels
from angiosynth.data.bids import PATIENT_NAME, Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan, stretch_patch
from angiosynth.errors import InputError
from angiosynth.reading import read_rows
from angiosynth.runtime.archives import open_array
from angiosynth.runtime.output import allocate, read_json, whole_folder, write_json
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.tables import write_table
from angiosynth.settings import IntensitySettings, PatchSettings

COLUMNS = ("patient", "slice", "x", "y", "kind")
STATISTICS_PATCHES = 2000  # mean and deviation of a set settle long before
BRIGHT_QUANTILE = 0.99
LONGEST_ROW = 256  # bytes of index.csv
LEAST_DEVIATION = 1 / 127.5  # one grey level: a set of blank images must not divide by zero

Row: TypeAlias = tuple[str, int, int, int, str]  # as COLUMNS
Centres: TypeAlias = NDArray[np.int64]  # (k, 3) voxel indices x, y, z of the canonical volume


@dataclass(frozen=True)
class PatchSet:
    """Pairs on disk, of which `rows` are in the set.

    image: (n, x, y) uint8, 0..255 for [-1, 1]. label: (n, x, y) uint8, 0 or 1. patient: (n,) names, "" for synthetic.
    rows: (k,) int64 into those; `len` is k, and indices given to `pairs` count within `rows`.
    """

    image: ImagePatches
    label: LabelPatches
    patient: NDArray[np.str_]
    rows: NDArray[np.int64]
    meta: dict[str, Any]
    folder: Path

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Edge of a patch in voxels."""
        return int(self.image.shape[1])

    def of_patients(self, names: Iterable[str]) -> PatchSet:
        """The pairs of some patients; arrays stay on disk.

        Raises:
            InputError: a patient has no pair in this set.
        """
        wanted = sorted(set(names))
        missing = sorted(set(wanted) - set(np.unique(self.patient[self.rows]).tolist()))
        if missing:
            raise InputError(f"{self.folder}: no patches of {', '.join(missing)}; run `dvc repro patches`")
        chosen = self.rows[np.isin(self.patient[self.rows], np.array(wanted, dtype=np.str_))]
        return PatchSet(self.image, self.label, self.patient, chosen, self.meta, self.folder)

    def pairs(self, indices: NDArray[np.integer[Any]] | Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images (k, x, y) in [-1, 1] and labels (k, x, y) of 0 and 1, both float32, in the order of the indices."""
        rows = self.rows[np.asarray(indices, np.int64)]
        return from_levels(self.image[rows]), np.asarray(self.label[rows], np.float32)

    def vessel_fraction(self) -> float:
        """Share of the label that is vessel."""
        return float(self.label[self.rows].mean()) if len(self) else 0.0

    def mean_deviation(self) -> tuple[float, float]:
        """Mean and standard deviation of the images in [-1, 1], over at most 2000 patches spread evenly over the set.

        Raises:
            InputError: the set is empty.
        """
        if not len(self):
            raise InputError(f"{self.folder}: has no patches; check the split's training patients")
        spread = np.unique(np.linspace(0, len(self) - 1, min(len(self), STATISTICS_PATCHES)).round().astype(np.int64))
        counts = np.bincount(self.image[self.rows[spread]].ravel(), minlength=256).astype(np.float64)
        values = np.arange(256) / 127.5 - 1
        mean = float((counts * values).sum() / counts.sum())
        deviation = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
        return mean, max(deviation, LEAST_DEVIATION)


def build_patches(root: Path, patients: Sequence[str], patches: PatchSettings, intensity: IntensitySettings, target: Path) -> None:
    """Cut patches of the named patients and write the set to `target`, whole or not at all.

    `on_vessels` patches a patient are centred on random vessel voxels, `on_bright` on what is bright and no vessel, `in_brain`
    on random brain voxels, none twice. What of a patch lies beyond the slice is air. What is drawn depends on seed and
    patient's name alone. A patient with fewer candidates gives what there is. One patient is in memory at a time.

    Raises:
        InputError: unknown or unlabelled patients, a volume smaller than a patch, unusable files.
    """
    chosen = _choose(root, patients)
    with whole_folder(target) as folder:
        most = len(chosen) * (patches.on_vessels + patches.on_bright + patches.in_brain)
        image, label = create_patch_arrays(folder, most, patches.size)
        rows: list[Row] = []
        vessel = 0
        for patient in progress(chosen, "cutting patches", len(chosen)):
            found = _cut_patient(patient, patches, intensity, image[len(rows) :], label[len(rows) :])
            vessel += int(np.count_nonzero(label[len(rows) : len(rows) + len(found)]))
            rows += found
        del image, label  # closed before they are trimmed or moved
        _trim(folder, len(rows), most)
        with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            write_table(stream, COLUMNS, rows)
        fraction = vessel / (len(rows) * patches.size**2) if rows else 0.0
        meta = {"size": patches.size, "intensity": intensity.model_dump(mode="json"), "n": len(rows), "vessel_fraction": fraction}
        write_json(folder / "set.json", meta)


def open_patch_set(folder: Path) -> PatchSet:
    """Open a real or synthetic set; instant, since the arrays stay on disk.

    Raises:
        InputError: a file is missing or damaged, or the files disagree.
    """
    image, label = _open_array(folder / "image.npy"), _open_array(folder / "label.npy")
    if image.shape != label.shape:
        raise InputError(f"{folder}: image.npy has shape {image.shape}, label.npy {label.shape}; make the set again with `dvc repro`")
    index = folder / "index.csv"
    description = folder / ("set.json" if os.path.lexists(folder / "set.json") else "card.json")
    meta = read_json(description)
    if not isinstance(meta, dict):
        raise InputError(f"{description}: damaged; run `dvc repro` to make it")
    patient = _read_names(index, len(image)) if os.path.lexists(index) else np.full(len(image), "", np.str_)
    if len(patient) != len(image) or (description.name == "set.json" and meta.get("n") != len(image)):
        raise InputError(f"{folder}: {len(image)} patches, but index.csv or set.json tell another number; make it again with `dvc repro`")
    return PatchSet(image, label, patient, np.arange(len(image)), meta, folder)


def create_patch_arrays(folder: Path, n: int, size: int) -> tuple[ImagePatches, LabelPatches]:
    """New image.npy and label.npy in an existing folder, (n, size, size) of zeros, writable and memory-mapped."""
    folder.mkdir(parents=True, exist_ok=True)
    image: ImagePatches = open_memmap(folder / "image.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    label: LabelPatches = open_memmap(folder / "label.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    for name in ("image.npy", "label.npy"):
        allocate(folder / name)
    return image, label


def draw_centres(scan: Scan, patches: PatchSettings) -> tuple[Centres, list[str]]:
    """Centres (k, 3) of one labelled scan's patches, and the kind of each: "vessel" first, then "bright", then "brain".

    Raises:
        InputError: the scan has no label or is smaller than a patch.
    """
    if scan.label is None:
        raise InputError(f"{scan.path}: has no vessel label, so no patches; take {scan.patient} out of the training patients")
    if min(scan.image.shape[:2]) < patches.size:
        raise InputError(f"{scan.path}: slices of {scan.image.shape[:2]} are smaller than a patch of {patches.size}; lower patches.size")
    seed = int.from_bytes(hashlib.sha256(f"{patches.seed}/{scan.patient}".encode()).digest()[:16], "big")
    rng = np.random.default_rng(seed)
    free = scan.brain.copy()
    centres: list[Centres] = []
    kinds: list[str] = []
    for kind, wanted in (("vessel", patches.on_vessels), ("bright", patches.on_bright), ("brain", patches.in_brain)):
        candidates = free
        if kind == "vessel":
            candidates = scan.label
        elif kind == "bright" and wanted:  # costs a second a scan
            candidates = free & bright_lookalikes(scan)
        found = _draw(candidates, wanted, rng)
        free[tuple(found.T)] = False  # no centre twice
        if len(found) < wanted:
            say(f"{scan.path}: {len(found)} patches on {kind} voxels instead of {wanted}, there are no more")
        centres.append(found)
        kinds += [kind] * len(found)
    return np.concatenate(centres), kinds


def bright_lookalikes(scan: Scan) -> Mask:
    """Brain voxels that a threshold would take for vessels: the brightest hundredth of those apart from the label.

    Venous sinuses, veins and plexus, a small part of the brain. Random patches show them seldom, and a GAN that has seldom seen
    them gives them a label. Partial volume at a vessel's wall is bright too, so two voxels around the label are left out.
    """
    assert scan.label is not None
    apart = scan.brain & ~binary_dilation(scan.label, iterations=2)
    values = scan.image[apart]
    return apart & (scan.image >= np.quantile(values, BRIGHT_QUANTILE)) if values.size else apart


def _draw(candidates: Mask, wanted: int, rng: np.random.Generator) -> Centres:
    """Distinct random voxels of a mask, as (k, 3). Slice by slice: a list of all a brain's voxels would be huge."""
    ends = np.cumsum(np.count_nonzero(candidates, axis=(0, 1)))
    total = int(ends[-1])
    ranks = np.sort(rng.choice(total, min(wanted, total), replace=False)) if total else np.zeros(0, np.int64)
    slices = np.searchsorted(ends, ranks, side="right")
    found: list[Centres] = [np.zeros((0, 3), np.int64)]
    for z in np.unique(slices):
        within = ranks[slices == z] - (ends[z - 1] if z else 0)
        plane = np.argwhere(candidates[:, :, z])[within]
        found.append(np.column_stack([plane, np.full(len(plane), z)]))
    return np.concatenate(found)


def _cut_patient(
    patient: Patient, patches: PatchSettings, intensity: IntensitySettings, image: ImagePatches, label: LabelPatches
) -> list[Row]:
    """Write one patient's patches to the arrays' beginnings. A function, so that its volumes are gone before the next one's come."""
    scan = load_scan(patient, intensity)
    centres, kinds = draw_centres(scan, patches)
    assert scan.label is not None  # draw_centres has refused such a scan
    rows: list[Row] = []
    for (x, y, z), kind in zip(centres.tolist(), kinds, strict=True):
        patch = cut_square(scan.image[:, :, z], x, y, patches.size, outside=-1.0)
        image[len(rows)] = to_levels(stretch_patch(patch) if intensity.rule == "patch" else patch)
        label[len(rows)] = cut_square(scan.label[:, :, z], x, y, patches.size, outside=0)
        rows.append((patient.id, z, x, y, kind))
    return rows


def cut_square(plane: NDArray[Any], x: int, y: int, size: int, outside: float) -> NDArray[Any]:
    """(size, size) of a slice (x, y) around a voxel, its element [size // 2, size // 2]; `outside` is what lies beyond the slice."""
    square = np.full((size, size), outside, plane.dtype)
    left, front = x - size // 2, y - size // 2
    inside = plane[max(left, 0) : left + size, max(front, 0) : front + size]
    square[max(-left, 0) :, max(-front, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return square


def _choose(root: Path, names: Sequence[str]) -> list[Patient]:
    known = {patient.id: patient for patient in find_patients(root)} if names else {}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"{root}: no patient {', '.join(unknown)}; run `dvc repro cohort`")
    return [known[name] for name in sorted(set(names))]


def _trim(folder: Path, n: int, most: int) -> None:
    """Shorten the arrays to the n patches that were found."""
    for name in ("image.npy", "label.npy") if n < most else ():
        long = open_array(folder / name)
        short = open_memmap(folder / f"short-{name}", mode="w+", dtype=np.uint8, shape=(n, *long.shape[1:]))
        short[:] = long[:n]
        del long, short
        (folder / f"short-{name}").replace(folder / name)


def _open_array(path: Path) -> NDArray[np.uint8]:
    try:
        array = open_array(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise InputError(f"{path}: not an array (n, x, y) of square 8-bit patches; make the set again with `dvc repro`")
    return array


def _read_names(path: Path, n: int) -> NDArray[np.str_]:
    """The patient of each of n patches."""
    try:
        names = [row["patient"] for row in read_rows(path, most=n, most_bytes=LONGEST_ROW * (n + 1))[1]]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; run `dvc repro patches` to make it") from error
    for name in names:
        if not PATIENT_NAME.fullmatch(name):
            raise InputError(f"{path}: a row has no patient's name such as sub-01; run `dvc repro patches` to make it")
    return np.array(names, dtype=np.str_)
