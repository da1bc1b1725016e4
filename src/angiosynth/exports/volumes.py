"""Patches as NIfTI volumes of one slice, and programs for receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import SpacingMm
from angiosynth.reading import read_text

nib: Any = nibabel

RECEIVERS = Path(__file__).parent / "receivers"  # programs that go along as they are; they need no angiosynth


def write_slice(path: Path, patch: NDArray[Any], spacing_mm: SpacingMm) -> None:
    """Write a patch (x, y) as a volume (x, y, 1) in RAS+ order, its corner at 0; the header holds shape and voxel size alone."""
    image = nib.Nifti1Image(np.ascontiguousarray(patch[:, :, None]), np.diag([*spacing_mm, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def unit_range(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels 0..255 -> [0, 1], 0 for air."""
    return np.asarray(levels, np.float32) / np.float32(255.0)


def copy_program(name: str, folder: Path) -> None:
    """Put a receiver's program into an export, as its source stands."""
    (folder / name).write_text(read_text(RECEIVERS / name), encoding="utf-8")
