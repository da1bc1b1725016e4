"""Check that a scan's mask or label lies on its grid and within its brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.nifti import Volume

# A brain mask often cuts off a few voxels of a vessel at its surface; more means that mask and label do not belong together.
LABEL_OUTSIDE_BRAIN = 0.01  # fraction of the label's voxels
# Arteries are about 1% of the brain. A label of more than half of it is a brain mask, or one whose background is set.
MOST_VESSEL_SHARE = 0.5
# qform and sform of one grid differ by rounding; a tenth of a voxel is far above that and far below a real shift.
GRID_TOLERANCE = 0.1  # voxels


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether two canonical volumes have one shape and their corners lie within a tenth of a voxel of each other."""
    return grids_apart(first, second) <= GRID_TOLERANCE


def grids_apart(first: Volume, second: Volume) -> float:
    """The largest distance of two canonical volumes' corners, in the first one's shortest voxel lengths; infinite for other shapes."""
    if first.array.shape != second.array.shape:
        return float("inf")
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array(first.array.shape) - 1
    distance = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1)
    return float(distance.max() / min(first.spacing_mm))


def grid_fault(path: Path, volume: Volume, scan: Volume) -> str:
    """One line that says how a mask's grid differs from its scan's."""
    if volume.array.shape != scan.array.shape:
        return f"{path}: shape {volume.array.shape} is not the scan's {scan.array.shape}; export it on the scan's grid"
    return f"{path}: affine is not the scan's, though the shapes agree; export it on the scan's grid"


@dataclass(frozen=True)
class LabelInBrain:
    """The position of a vessel label in the brain. `fault`: why it cannot be its label; `note`: on voxels left out; "" for none."""

    fault: str = ""
    note: str = ""


def label_in_brain(label: Mask, brain: Mask) -> LabelInBrain:
    """Judge a label (x, y, z) by the brain mask (x, y, z) of its scan, the whole volume where there is none."""
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
