"""Convert the values of a label file to a mask: select classes, and refuse files that are not masks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask
from angiosynth.data.values import value_runs
from angiosynth.errors import InputError

# (first, last) of each range of classes; () for labels with a single class, None for all classes.
ClassRanges: TypeAlias = tuple[tuple[int, int], ...] | None

RANGE = re.compile(r"(-?\d{1,9})(?:\s*[-\u2013]\s*(-?\d{1,9}))?")
NEARLY_WHOLE = 1e-3  # classes stored as scaled floats are read as, for example, 0.9999998
# Atlases of the brain have up to about 190 classes; 8-bit images have up to 255 grey values.
MOST_CLASSES = 200
# Grey values change from voxel to voxel, classes only at borders. A file with few classes is a mask whatever their shape; with more classes
# at least half of all pairs of neighbours must agree.
FEW_CLASSES, LEAST_AGREEMENT = {"brain": 8, "vessels": 64}, 0.5
LEAST_BRAIN = 0.01  # fraction of the volume


def parse_classes(text: str) -> ClassRanges:
    """Parse "1,2", "1-13, 20", "all" or "".

    Raises:
        InputError: the text has another form, a range is descending, or 0, the background, is included.
    """
    if text.strip().lower() == "all":
        return None
    ranges: list[tuple[int, int]] = []
    for item in text.split(",") if text.strip() else ():
        match = RANGE.fullmatch(item.strip())
        if match is None:
            raise InputError(f"--vessel-values {text!r}: write whole numbers and ranges with commas, such as 1,2 or 1-13,20, or all")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if first > last:
            raise InputError(f"--vessel-values {text!r}: the range {item.strip()} runs backwards; write {last}-{first}")
        if first <= 0 <= last:
            raise InputError(f"--vessel-values {text!r}: 0 is the background; name the classes that are vessels")
        ranges.append((first, last))
    return tuple(ranges)


def one_mask(values: NDArray[Any], path: Path, kind: str, vessel_classes: ClassRanges, notes: list[str]) -> Mask:
    """Return the mask (x, y, z) of a label or brain mask file.

    Args:
        values: (x, y, z) values of the file.
        path: the file, for messages.
        kind: "brain" joins all classes, "vessels" selects those of `vessel_classes`.
        vessel_classes: see `ClassRanges`.
        notes: messages on ignored or joined classes are appended to this list.

    Raises:
        InputError: the file is empty or not a mask, or it is ambiguous which classes are vessels.
    """
    # Refuse files that are not masks: fractional values, no voxel, or as many values as an image.
    whole = np.rint(values)
    if np.abs(values - whole).max() > NEARLY_WHOLE:
        raise InputError(
            f"{path}: holds values between whole numbers, up to {values.max():g}, like an image or probabilities; threshold it to a mask"
        )
    classes = np.unique(whole[whole != 0])
    if not classes.size:
        raise InputError(f"{path}: is empty, no voxel is set; draw it again or remove the file")
    few = FEW_CLASSES[kind]
    if len(classes) > MOST_CLASSES or (len(classes) > few and _agreement(whole) < LEAST_AGREEMENT):
        role = "brain mask" if kind == "brain" else "vessel label"
        raise InputError(f"{path}: is no mask, it has {len(classes)} values like an image ({value_runs(classes)}); give a {role}")
    if kind == "brain":
        _refuse_odd_brain(path, whole, len(classes))
    # Join all classes of a brain mask, of a label with a single class, or if the user has chosen all.
    if kind == "brain" or vessel_classes is None or (not vessel_classes and len(classes) == 1):
        notes += [f"{kind}: {len(classes)} classes joined"] if len(classes) > 1 else []
        return np.asarray(whole != 0)
    if not vessel_classes:
        raise InputError(
            f"{path}: has {len(classes)} classes, {value_runs(classes)}; say which are vessels, --vessel-values {classes[0]:g} or all"
        )
    # Select the classes that the user has named as vessels.
    taken = np.zeros(whole.shape, np.bool_, order="F")
    for first, last in vessel_classes:
        taken |= (whole >= first) & (whole <= last)
    if not taken.any():
        raise InputError(f"{path}: has none of the classes --vessel-values names, but {value_runs(classes)}")
    unused = [value for value in classes if not any(first <= value <= last for first, last in vessel_classes)]
    notes += [f"vessels: without classes {value_runs(np.array(unused))}"] if unused else []
    return taken


def _refuse_odd_brain(path: Path, whole: NDArray[Any], classes: int) -> None:
    share = float(np.mean(whole != 0))
    if classes > 1 and share == 1.0:
        raise InputError(f"{path}: has {classes} classes and no 0, so nothing marks the background; write the background as 0")
    if share < LEAST_BRAIN:
        raise InputError(f"{path}: covers {share:.2%} of the volume, which is no brain; draw it again")


def _agreement(whole: NDArray[Any]) -> float:
    """Fraction of pairs of non-zero neighbouring voxels with equal values."""
    same = pairs = 0
    for axis in range(3):
        along = np.moveaxis(whole, axis, 0)
        voxel, neighbour = along[:-1], along[1:]
        both = (voxel != 0) & (neighbour != 0)
        pairs += int(np.count_nonzero(both))
        same += int(np.count_nonzero(both & (voxel == neighbour)))
    return same / pairs if pairs else 1.0
