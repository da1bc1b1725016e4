"""Patch sets: memory-mapped pairs of image and label, cut from axial slices.

A set is a folder with image.npy and label.npy, both (n, x, y) uint8. A real set also has index.csv (patient, slice, centre, kind) and
set.json; a synthetic set has card.json.
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
from angiosynth.data.intensity import Scan, load_scan, stretch_patch
from angiosynth.data.nifti import read_volume
from angiosynth.data.patch_centres import cut_square, draw_centres, draw_unlabelled_centres
from angiosynth.errors import InputError
from angiosynth.reading import read_rows
from angiosynth.runtime.archives import open_array
from angiosynth.runtime.output import allocate, read_json, whole_folder, write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.tables import write_table
from angiosynth.settings import IntensitySettings, PatchSettings

COLUMNS = ("patient", "slice", "x", "y", "kind")
STATISTICS_PATCHES = 2000  # patches from which mean and standard deviation are estimated
LONGEST_ROW = 256  # bytes in a row of index.csv
LEAST_DEVIATION = 1 / 127.5  # one grey level; avoids division by zero for blank images

Row: TypeAlias = tuple[str, int, int, int, str]  # as COLUMNS


@dataclass(frozen=True)
class PatchSet:
    """A selection of k pairs from n pairs on disk; `len` is k.

    Attributes:
        image: (n, x, y) uint8, 0..255 for [-1, 1].
        label: (n, x, y) uint8, 0 or 1.
        patient: (n,) names, "" for synthetic pairs.
        rows: (k,) indices of the selected pairs. Indices passed to `pairs` refer to positions in `rows`.
        meta: content of set.json or card.json.
        folder: folder of the set.
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
        """Side of a patch in voxels."""
        return int(self.image.shape[1])

    def of_patients(self, names: Iterable[str]) -> PatchSet:
        """Select the pairs of some patients; arrays stay on disk.

        Args:
            names: names of the patients; each must have a pair.

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
            indices: (k,) indices below `len`.

        Returns:
            Images (k, x, y) in [-1, 1] and labels (k, x, y) of 0 and 1, both float32, in the order of the indices.
        """
        rows = self.rows[np.asarray(indices, np.int64)]
        return from_levels(self.image[rows]), np.asarray(self.label[rows], np.float32)

    def vessel_fraction(self) -> float:
        """Return the fraction of vessel pixels in the labels, 0..1; 0 for an empty set."""
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
        # Computed from the histogram of grey levels, which is exact and avoids a float copy of the images.
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
    labelled: bool = True,
) -> None:
    """Cut patches of the given patients and write them as a set. The folder is written completely or not at all.

    For each patient `on_vessels` patches are centred on random vessel voxels, `on_bright` on bright voxels outside vessels, and `in_brain`
    on random brain voxels. Without labels the first two kinds are centred on the brightest voxels of the brain. No voxel is used twice; if
    there are too few voxels of a kind, all are used. Pixels beyond the border of the slice are air. The draw depends only on the seed and
    the patient's name. One patient is in memory at a time.

    Args:
        root: BIDS folder of the site.
        patients: names of patients, who must be labelled unless they are in `predicted`.
        patches: size, number of patches of each kind, seed.
        intensity: scaling rule.
        target: the folder; an existing one is replaced.
        predicted: name -> vessel mask that replaces the patient's label, including for centring the patches.
        labelled: False to look at nobody's label, not even for centring; the set's labels are then empty.

    Raises:
        InputError: a patient is unknown or unlabelled, a volume is smaller than a patch, or a file is unusable.
    """
    chosen, masks = _choose(root, patients), predicted or {}
    with whole_folder(target) as folder:
        most = len(chosen) * (patches.on_vessels + patches.on_bright + patches.in_brain)
        # The arrays are allocated for the number of patches in the settings, and shortened to the number that was cut.
        image, label = create_patch_arrays(folder, most, patches.size)
        rows: list[Row] = []
        vessel = 0
        for patient in progress(chosen, "cutting patches", len(chosen)):
            scan = _loaded(patient if labelled else replace(patient, label=None), masks.get(patient.id), intensity)
            cut = _cut(scan, patches, labelled, intensity.rule == "patch", (image[len(rows) :], label[len(rows) :]))
            del scan  # before the next one is read
            vessel += int(np.count_nonzero(label[len(rows) : len(rows) + len(cut)]))
            rows += cut
        del image, label  # closed before they are trimmed or moved
        _trim(folder, len(rows), most)
        with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            write_table(stream, COLUMNS, rows)
        fraction = vessel / (len(rows) * patches.size**2) if rows else 0.0
        meta = {"size": patches.size, "intensity": intensity.model_dump(mode="json"), "n": len(rows), "vessel_fraction": fraction}
        meta |= {} if labelled else {"labelled": False}
        write_json(folder / "set.json", meta)


def open_patch_set(folder: Path) -> PatchSet:
    """Open all pairs of a real or synthetic set. Arrays are memory-mapped, so opening takes no time.

    Args:
        folder: contains image.npy and label.npy, and either index.csv and set.json, or card.json.

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
        folder: created if it is missing.
        n: number of pairs.
        size: side of a patch in voxels.

    Returns:
        Image and label, (n, size, size) uint8 zeros, writable and memory-mapped.

    Raises:
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image: ImagePatches = open_memmap(folder / "image.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    label: LabelPatches = open_memmap(folder / "label.npy", mode="w+", dtype=np.uint8, shape=(n, size, size))
    for name in ("image.npy", "label.npy"):
        allocate(folder / name)
    return image, label


def _loaded(patient: Patient, predicted: Path | None, intensity: IntensitySettings) -> Scan:
    """Load a scan, with a predicted label if there is one."""
    scan = load_scan(patient, intensity)
    if predicted is not None:  # read without `load_mask`, since a prediction may be empty
        scan = replace(scan, label=(read_volume(predicted).array > 0.5) & scan.brain)
    return scan


def _cut(scan: Scan, patches: PatchSettings, labelled: bool, stretched: bool, target: tuple[ImagePatches, LabelPatches]) -> list[Row]:
    """Write the patches of one patient to the beginning of both arrays and return their rows of index.csv."""
    image, label = target
    centres, kinds = (draw_centres if labelled else draw_unlabelled_centres)(scan, patches)
    rows: list[Row] = []
    for (x, y, z), kind in zip(centres.tolist(), kinds, strict=True):
        patch = cut_square(scan.image[:, :, z], x, y, patches.size, outside=-1.0)
        image[len(rows)] = to_levels(stretch_patch(patch) if stretched else patch)
        if scan.label is not None:
            label[len(rows)] = cut_square(scan.label[:, :, z], x, y, patches.size, outside=0)
        rows.append((scan.patient, z, x, y, kind))
    return rows


def _choose(root: Path, names: Sequence[str]) -> list[Patient]:
    known = {patient.id: patient for patient in find_patients(root)} if names else {}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"{root}: no patient {', '.join(unknown)}; run `dvc repro cohort`")
    return [known[name] for name in sorted(set(names))]


def _trim(folder: Path, n: int, most: int) -> None:
    """Shorten the arrays on disk to n patches."""
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
    """Read the patient names (n,) of n patches."""
    try:
        names = [row["patient"] for row in read_rows(path, most=n, most_bytes=LONGEST_ROW * (n + 1))[1]]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; run `dvc repro patches` to make it") from error
    for name in names:
        if not PATIENT_NAME.fullmatch(name):
            raise InputError(f"{path}: a row has no patient's name such as sub-01; run `dvc repro patches` to make it")
    return np.array(names, dtype=np.str_)
