"""A lab's own files into BIDS: checked, under numbers instead of names, nothing of their headers but geometry and scaling."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel
import numpy as np
from scipy import ndimage

from angiosynth.arrays import Mask
from angiosynth.data.bids import BRAIN, LABEL, SCAN
from angiosynth.data.checks import LABEL_OUTSIDE_BRAIN, grid_fault, same_grid
from angiosynth.data.nifti import GEOMETRY_FIELDS, GZIP_MAGIC, LoadedVolume, load_volume, write_mask
from angiosynth.data.pairing import Sources
from angiosynth.data.pseudonyms import draw_numbers, write_names
from angiosynth.data.target import describe, refuse_places, refuse_users_files
from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.progress import progress

nib: Any = nibabel

WithoutBrain: TypeAlias = Literal["refuse", "nonzero", "whole"]
NEARLY_WHOLE = 1e-3  # a class stored as a scaled float comes back as 0.9999998
LEAST_BACKGROUND = 0.05  # of a scan's voxels; a head that is not stripped, or a crop of a brain, has less that is exactly 0
CLASSES_TOLD = 6


@dataclass(frozen=True)
class Rules:
    """How to read what the files leave open.

    vessel_values: the classes of a label that are vessels; empty where it has but one, None for every class. without_brain: what to do
    for a scan without a brain mask. trust_shape: take a mask of the scan's shape as the scan's grid whatever its affine says.
    """

    vessel_values: tuple[int, ...] | None = ()
    without_brain: WithoutBrain = "refuse"
    trust_shape: bool = False


@dataclass(frozen=True)
class Checked:
    """One patient whose files are sound. `masks` is None where only facts are wanted; notes tell what was read into the files."""

    sources: Sources
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    orientation: str
    vessel_voxels: int
    brain_voxels: int
    notes: tuple[str, ...]
    masks: dict[str, Mask] | None


def import_folder(paired: Sequence[Sources], rules: Rules, target: Path | None, names: Path | None) -> list[Checked]:
    """Check all files and write `target` as a BIDS folder, whole or not at all; with no target only check.

    Scans keep voxels, type, scaling and grid; labels and masks become 8 bit in their scan's grid. Who is who goes into the CSV file
    `names`, which only its owner can read: a scan that it knows keeps its number, a new one draws a free one, so that numbers do not
    follow the alphabet. One patient is in memory at a time.

    Args:
        paired: each patient's files.
        rules: how to read what the files leave open.
        target: a new folder, or one that an import has made.
        names: the table of numbers and names; outside of `target`.

    Returns:
        Facts of every patient, in the order given.

    Raises:
        InputError: a first line with the number of faults, then one line each; or target or names cannot be used.
    """
    if target is None:
        return _checked_all(paired, rules, None, {})
    assert names is not None
    refuse_places(target, names, [path for sources in paired for path in (sources.scan, sources.vessels, sources.brain) if path])
    numbers = draw_numbers(names, [sources.name for sources in paired])
    with whole_folder(target) as folder:
        found = _checked_all(paired, rules, folder, numbers)
        describe(folder, target.name)
        refuse_users_files(target)  # again: reading takes minutes, in which someone may have drawn a label
        write_names(names, paired, numbers)
    return found


def _checked_all(paired: Sequence[Sources], rules: Rules, folder: Path | None, numbers: Mapping[str, str]) -> list[Checked]:
    faults: list[str] = []
    found: list[Checked] = []
    seen: dict[str, Path] = {}
    for sources in progress(paired, "import" if folder else "checking", len(paired)):
        try:
            checked = _check(sources, rules, seen)
        except InputError as error:
            faults += str(error).splitlines()
            continue
        if folder is not None and not faults:  # after a fault nothing is kept, only what else is wrong is looked for
            _write(checked, folder / numbers[sources.name] / "anat" / numbers[sources.name])
        found.append(replace(checked, masks=None))
    if faults:
        raise InputError(fault_lines(faults))
    return found


def fault_lines(faults: Sequence[str]) -> str:
    """All faults under a line that counts them."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"import: {count} found, nothing written; mend and run again", *(f"  {fault}" for fault in faults)])


def _check(sources: Sources, rules: Rules, seen: dict[str, Path]) -> Checked:
    scan = load_volume(sources.scan)
    array = scan.volume.array
    faults: list[str] = []
    notes: list[str] = []
    if array.min() == array.max():
        faults.append(f"{sources.scan}: every voxel has the same value; export the scan again")
    _once(sources.scan, array, "scan", seen, faults)
    masks: dict[str, Mask] = {}
    for kind, path in (("brain", sources.brain), ("vessels", sources.vessels)):
        if path is None:
            continue
        try:
            masks[kind] = _mask(path, kind, scan, rules, notes)
            if kind == "vessels":
                _once(path, masks[kind], "label", seen, faults)
        except InputError as error:
            faults.append(str(error))
    if sources.brain is None:
        _without_brain(sources, scan, rules, masks, notes, faults)
    if not faults and len(masks) == 2:
        _label_outside(sources, masks, notes, faults)
    if sources.vessels is None:
        notes.append("no label: can be segmented, not learnt from")
    if faults:
        raise InputError("\n".join(faults))
    counts = {kind: int(np.count_nonzero(mask)) for kind, mask in masks.items()}
    shape, spacing = array.shape, scan.volume.spacing_mm
    brain = counts.get("brain", array.size)
    return Checked(sources, shape, spacing, scan.orientation, counts.get("vessels", 0), brain, tuple(notes), masks)


def _mask(path: Path, kind: str, scan: LoadedVolume, rules: Rules, notes: list[str]) -> Mask:
    loaded = load_volume(path)
    if not same_grid(scan.volume, loaded.volume):
        trusted = rules.trust_shape and loaded.volume.array.shape == scan.volume.array.shape
        if not trusted:
            hint = "; --trust-shape takes it voxel by voxel" if loaded.volume.array.shape == scan.volume.array.shape else ""
            raise InputError(grid_fault(path, loaded.volume, scan.volume) + hint)
        notes.append(f"{kind}: affine differs, taken voxel by voxel")
    values = loaded.volume.array
    whole = np.rint(values)
    if np.abs(values - whole).max() > NEARLY_WHOLE:
        raise InputError(f"{path}: holds values between whole numbers, up to {values.max():g}; threshold it to a mask first")
    classes = [int(value) for value in np.unique(whole[whole != 0])]
    if not classes:
        raise InputError(f"{path}: is empty, no voxel is set; draw it again or remove the file")
    if kind == "brain" or rules.vessel_values is None:
        notes += [f"{kind}: {len(classes)} classes joined"] if len(classes) > 1 else []
        return np.asarray(whole != 0)
    if rules.vessel_values:
        chosen = np.isin(whole, rules.vessel_values)
        if not chosen.any():
            raise InputError(f"{path}: has none of the classes --vessel-values names, but {_told(classes)}")
        left = [value for value in classes if value not in rules.vessel_values]
        notes += [f"vessels: without classes {_told(left)}"] if left else []
        return np.asarray(chosen)
    if len(classes) > 1:
        raise InputError(
            f"{path}: has {len(classes)} classes, {_told(classes)}; say which are vessels, --vessel-values {classes[0]} or all"
        )
    return np.asarray(whole != 0)


def _told(classes: Sequence[int]) -> str:
    return ", ".join(map(str, classes[:CLASSES_TOLD])) + (" and more" if len(classes) > CLASSES_TOLD else "")


def _without_brain(sources: Sources, scan: LoadedVolume, rules: Rules, masks: dict[str, Mask], notes: list[str], faults: list[str]) -> None:
    """Nobody but the lab knows whether a scan is stripped of its skull, so nothing is guessed."""
    if rules.without_brain == "whole":
        notes.append("no brain mask: whole volume")
    elif rules.without_brain == "nonzero":
        empty = float(np.mean(scan.volume.array == 0))
        if empty < LEAST_BACKGROUND:
            faults.append(
                f"{sources.scan}: {empty:.1%} of its voxels are 0, so its skull is not stripped; make a brain mask (docs/own-scans.md)"
            )
            return
        masks["brain"] = _filled(scan.volume.array != 0)
        notes.append("brain: largest piece that is not 0, filled")
    else:
        faults.append(
            f"{sources.scan}: no brain mask; make one (docs/own-scans.md) or, were the skull stripped, give --without-brain nonzero"
        )


def _filled(there: Mask) -> Mask:
    """The largest connected piece with its holes."""
    pieces, count = ndimage.label(there)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(pieces == sizes.argmax())
    return filled


def _label_outside(sources: Sources, masks: Mapping[str, Mask], notes: list[str], faults: list[str]) -> None:
    voxels = int(np.count_nonzero(masks["vessels"]))
    outside = int(np.count_nonzero(masks["vessels"] & ~masks["brain"]))
    if outside > LABEL_OUTSIDE_BRAIN * voxels:
        wrong = (
            f"{outside} of {voxels} voxels ({outside / voxels:.1%}) lie outside the brain mask; check that label and mask belong together"
        )
        faults.append(f"{sources.vessels}: {wrong}")
    elif outside:
        notes.append(f"vessels: {outside} of {voxels} voxels outside the brain do not count")


def _once(path: Path, array: np.ndarray[Any, Any], what: str, seen: dict[str, Path], faults: list[str]) -> None:
    """By its voxels in canonical order: a copy that was turned, compressed or renamed is still the same scan."""
    digest = hashlib.sha256(f"{what} {array.shape}".encode() + array.tobytes(order="F")).hexdigest()
    twin = seen.setdefault(digest, path)
    if twin != path:
        faults.append(f"{path}: the same {what} as {twin}, so one person could be in two splits; remove one of them")


def _write(checked: Checked, stem: Path) -> None:
    assert checked.masks is not None
    scan = Path(f"{stem}{SCAN}.nii.gz")
    scan.parent.mkdir(parents=True)
    # No file name and no time go into the gzip header.
    scan.write_bytes(gzip.compress(clean_scan(checked.sources.scan), 6, mtime=0))
    for kind, ending in (("brain", BRAIN), ("vessels", LABEL)):
        if kind in checked.masks:
            write_mask(checked.masks[kind], scan, Path(f"{stem}{ending}.nii.gz"))


def clean_scan(path: Path) -> bytes:
    """A NIfTI file with the voxels as stored, under a fresh header with type, shape, grid and scaling alone.

    Names, dates and free text of the old header, and its extensions, which may hold whole DICOM headers, are not taken along. A last axis
    of length 1 is dropped. The file is one that `load_volume` has accepted.
    """
    raw = path.read_bytes()
    data = gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
    two = data[4:8] == b"n+2\0"
    image = (nib.Nifti2Image if two else nib.Nifti1Image).from_bytes(data)
    old = image.header
    header = type(old)(endianness=old.endianness)
    stored = np.asarray(image.dataobj.get_unscaled())
    stored = stored.reshape(stored.shape[:3], order="F")
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    for field in GEOMETRY_FIELDS:
        header[field] = old[field]
    header["pixdim"][4:] = 0
    # Of the voxels, not of the header: nibabel clears an opened image's header of them.
    header["scl_slope"], header["scl_inter"] = image.dataobj.slope, image.dataobj.inter
    header["vox_offset"] = 544 if two else 352
    voxels: bytes = stored.tobytes(order="F")
    return bytes(header.binaryblock) + bytes(4) + voxels
