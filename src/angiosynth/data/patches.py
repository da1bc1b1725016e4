"""Patch sets: pairs of image and label cut from axial slices, memory-mapped.

A set is a folder with image.npy and label.npy, both (n, x, y) uint8. A real one also has index.csv (patient, slice,
centre, kind) and set.json; a synthetic one has card.json.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, LabelPatches, from_levels, to_levels
from angiosynth.data.bids import PATIENT_NAME, Patient, find_patients
from angiosynth.data.intensity import load_scan, stretch_patch
from angiosynth.data.nifti import read_volume
from angiosynth.data.patch_centres import cut_square, draw_centres
from angiosynth.errors import InputError
from angiosynth.reading import read_rows
from angiosynth.runtime.archives import open_array
from angiosynth.runtime.output import allocate, read_json, whole_folder, write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.tables import write_table
from angiosynth.settings import IntensitySettings, PatchSettings

COLUMNS = ("patient", "slice", "x", "y", "kind")
STATISTICS_PATCHES = 2000  # so many give mean and deviation of a set closely enough
LONGEST_ROW = 256  # bytes of index.csv
LEAST_DEVIATION = 1 / 127.5  # one grey level: a set of blank images must not divide by zero

Row: TypeAlias = tuple[str, int, int, int, str]  # as COLUMNS


@dataclass(frozen=True)
class PatchSet:
    """Pairs on disk, of which `rows` are in the set; `len` is their number.

    Attributes:
        image: (n, x, y) uint8, 0..255 for [-1, 1].
        label: (n, x, y) uint8, 0 or 1.
        patient: (n,) names, "" for synthetic pairs.
        rows: (k,) indices of the pairs in the set; those given to `pairs` count within `rows`.
        meta: content of set.json or card.json.
        folder: of the set.
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
        """The subset of some patients' pairs; arrays stay on disk.

        Args:
            names: of patients; each must have a pair.

        Raises:
            InputError: a patient has no pair in this set.
        """
        unique = sorted(set(names))
        missing = sorted(set(unique) - set(np.unique(self.patient[self.rows]).tolist()))
        if missing:
            raise InputError(f"{self.folder}: no patches of {', '.join(missing)}; run `dvc repro patches`")
        chosen = self.rows[np.isin(self.patient[self.rows], np.array(unique, dtype=np.str_))]
        return PatchSet(self.image, self.label, self.patient, chosen, self.meta, self.folder)

    def pairs(self, indices: NDArray[np.integer[Any]] | Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read pairs.

        Args:
            indices: (k,) below `len`.

        Returns:
            Images (k, x, y) in [-1, 1] and labels (k, x, y) of 0 and 1, both float32, in the order of the indices.
        """
        rows = self.rows[np.asarray(indices, np.int64)]
        return from_levels(self.image[rows]), np.asarray(self.label[rows], np.float32)

    def vessel_fraction(self) -> float:
        """Fraction of the labels' pixels that are vessel, 0..1; 0 for an empty set."""
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
        # From the histogram of grey levels: exact, and no float copy of the images is made.
        values = np.arange(256) / 127.5 - 1
        mean = float((counts * values).sum() / counts.sum())
        deviation = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
        return mean, max(deviation, LEAST_DEVIATION)


def build_patches(
    root: Path,
    patients: Sequence[str],
    patches: PatchSettings,
    intensity: IntensitySettings,
    target: Path,
    predicted: Mapping[str, Path] | None = None,
) -> None:
    """Cut patches of the named patients and write the set to `target`, whole or not at all.

    Of each patient `on_vessels` patches are centred on random vessel voxels, `on_bright` on bright voxels that are no vessel, `in_brain` on
    random brain voxels, none twice; where there are fewer such voxels, on all of them. Pixels beyond the slice's border are air. The draw
    depends on the seed and the patient's name alone. One patient is in memory at a time.

    Args:
        root: the site's BIDS folder.
        patients: names, labelled but for those in `predicted`.
        patches: size, numbers of each kind, seed.
        intensity: the rule of scaling.
        target: a folder; an existing one is replaced.
        predicted: name -> a vessel mask that takes the place of the patient's label, by which the patches are centred.

    Raises:
        InputError: unknown or unlabelled patients, a volume smaller than a patch, unusable files.
    """
    chosen, masks = _choose(root, patients), predicted or {}
    with whole_folder(target) as folder:
        most = len(chosen) * (patches.on_vessels + patches.on_bright + patches.in_brain)
        # The arrays have room for all patches that settings ask for, and are shortened to those that were cut.
        image, label = create_patch_arrays(folder, most, patches.size)
        rows: list[Row] = []
        vessel = 0
        for patient in progress(chosen, "cutting patches", len(chosen)):
            cut = _cut_patient(patient, masks.get(patient.id), patches, intensity, (image[len(rows) :], label[len(rows) :]))
            vessel += int(np.count_nonzero(label[len(rows) : len(rows) + len(cut)]))
            rows += cut
        del image, label  # closed before they are trimmed or moved
        _trim(folder, len(rows), most)
        with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            write_table(stream, COLUMNS, rows)
        fraction = vessel / (len(rows) * patches.size**2) if rows else 0.0
        meta = {"size": patches.size, "intensity": intensity.model_dump(mode="json"), "n": len(rows), "vessel_fraction": fraction}
        write_json(folder / "set.json", meta)


def open_patch_set(folder: Path) -> PatchSet:
    """Open a real or synthetic set, all its pairs; instant, since the arrays stay on disk.

    Args:
        folder: with image.npy and label.npy, and either index.csv and set.json, or card.json.

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
        raise InputError(f"{folder}: {len(image)} patches, but index.csv or set.json give another number; make it again with `dvc repro`")
    return PatchSet(image, label, patient, np.arange(len(image)), meta, folder)


def create_patch_arrays(folder: Path, n: int, size: int) -> tuple[ImagePatches, LabelPatches]:
    """Create image.npy and label.npy in a folder.

    Args:
        folder: created where it is missing.
        n: number of pairs.
        size: side of a patch.

    Returns:
        Image and label, (n, size, size) uint8 of zeros, writable and memory-mapped.

    Raises:
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image: ImagePatches = open_memmap(folder / "image.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    label: LabelPatches = open_memmap(folder / "label.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    for name in ("image.npy", "label.npy"):
        allocate(folder / name)
    return image, label


def _cut_patient(
    patient: Patient,
    predicted: Path | None,
    patches: PatchSettings,
    intensity: IntensitySettings,
    target: tuple[ImagePatches, LabelPatches],
) -> list[Row]:
    """Write one patient's patches to the beginning of both arrays; returns their rows of index.csv.

    A function of its own, so that its volumes are freed before the next patient's are read.
    """
    scan, (image, label) = load_scan(patient, intensity), target
    if predicted is not None:  # unlike a label it may be empty
        scan = replace(scan, label=(read_volume(predicted).array > 0.5) & scan.brain)
    centres, kinds = draw_centres(scan, patches)
    assert scan.label is not None  # draw_centres has refused such a scan
    rows: list[Row] = []
    for (x, y, z), kind in zip(centres.tolist(), kinds, strict=True):
        patch = cut_square(scan.image[:, :, z], x, y, patches.size, outside=-1.0)
        image[len(rows)] = to_levels(stretch_patch(patch) if intensity.rule == "patch" else patch)
        label[len(rows)] = cut_square(scan.label[:, :, z], x, y, patches.size, outside=0)
        rows.append((patient.id, z, x, y, kind))
    return rows


def _choose(root: Path, names: Sequence[str]) -> list[Patient]:
    known = {patient.id: patient for patient in find_patients(root)} if names else {}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"{root}: no patient {', '.join(unknown)}; run `dvc repro cohort`")
    return [known[name] for name in sorted(set(names))]


def _trim(folder: Path, n: int, most: int) -> None:
    """Shorten the arrays to the n patches that were cut."""
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
