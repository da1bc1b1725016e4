"""Write patches as NIfTI volumes of one slice, and copy programs for receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import SpacingMm
from angiosynth.reading import read_text

nib: Any = nibabel

RECEIVERS = Path(__file__).parent / "receivers"  # programs that are copied unchanged; they do not need angiosynth


def write_slice(path: Path, patch: NDArray[Any], spacing_mm: SpacingMm) -> None:
    """Write a patch (x, y) as a volume (x, y, 1) in RAS+ order with origin 0; the header contains only shape and voxel size."""
    image = nib.Nifti1Image(np.ascontiguousarray(patch[:, :, None]), np.diag([*spacing_mm, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def unit_range(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert grey levels 0..255 to [0, 1]; air is 0."""
    return np.asarray(levels, np.float32) / np.float32(255.0)


def copy_program(name: str, folder: Path) -> None:
    """Copy a program for receivers into an export."""
    (folder / name).write_text(read_text(RECEIVERS / name), encoding="utf-8")
