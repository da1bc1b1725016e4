"""Check that a mask or label lies on the grid of its scan and inside the brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.nifti import Volume

# Brain masks often cut off a few voxels of vessels at the surface; larger fractions mean that mask and label do not belong together.
LABEL_OUTSIDE_BRAIN = 0.01  # fraction of the label's voxels
# Arteries fill about 1% of the brain. A label of more than half of it is a brain mask, or has foreground and background exchanged.
MOST_VESSEL_SHARE = 0.5
# qform and sform of one grid differ by rounding; a tenth of a voxel is far above rounding and far below a real shift.
GRID_TOLERANCE = 0.1  # voxels


def same_grid(first: Volume, second: Volume) -> bool:
    """Return whether two canonical volumes have equal shape and corners within a tenth of a voxel of each other."""
    return grids_apart(first, second) <= GRID_TOLERANCE


def grids_apart(first: Volume, second: Volume) -> float:
    """Return the largest distance of corresponding corners of two canonical volumes, in voxels of the first; infinite if shapes differ."""
    if first.array.shape != second.array.shape:
        return float("inf")
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array(first.array.shape) - 1
    distance = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1)
    return float(distance.max() / min(first.spacing_mm))


def grid_fault(path: Path, volume: Volume, scan: Volume) -> str:
    """Return a message that states how the grid of a mask differs from that of its scan."""
    if volume.array.shape != scan.array.shape:
        return f"{path}: shape {volume.array.shape} is not the scan's {scan.array.shape}; export it on the scan's grid"
    return f"{path}: affine is not the scan's, though the shapes agree; export it on the scan's grid"


@dataclass(frozen=True)
class LabelInBrain:
    """Position of a vessel label relative to the brain. `fault`: why it is not a valid label; `note`: ignored voxels; "" for none."""

    fault: str = ""
    note: str = ""


def label_in_brain(label: Mask, brain: Mask) -> LabelInBrain:
    """Compare a label (x, y, z) with the brain mask (x, y, z) of its scan, which is the whole volume if there is no mask."""
    voxels = int(np.count_nonzero(label))
    outside = voxels - int(np.count_nonzero(label & brain))
    share = voxels / max(1, int(np.count_nonzero(brain)))
    if outside > LABEL_OUTSIDE_BRAIN * voxels:
        places = f"{outside} of {voxels} voxels ({outside / voxels:.1%}) lie outside the brain mask"
        return LabelInBrain(fault=f"{places}; check that mask and label belong together")
    if share > MOST_VESSEL_SHARE:
        return LabelInBrain(
            fault=f"the label fills {share:.0%} of the brain, vessels about 1%; check that it is a vessel label and what is set"
        )
    return LabelInBrain(note=f"{outside} of {voxels} voxels lie outside the brain mask and are left out" if outside else "")
