"""Array types: shape, axis order and units, and the conversion between intensities and stored levels.

Volumes are (x, y, z) in canonical RAS+ orientation, so axial slice k is ``volume[:, :, k]``. Patches are (n, x, y). Batches of tensors are
(n, channel, x, y); the channels of a generator are image and label. Networks work on intensities in [-1, 1], stored as 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.float32]  # (x, y, z), [-1, 1] inside the brain, -1 outside
Mask: TypeAlias = NDArray[np.bool_]  # (x, y, z)
Affine: TypeAlias = NDArray[np.float64]  # (4, 4), voxel index -> millimetres
SpacingMm: TypeAlias = tuple[float, float, float]  # millimetres along x, y, z
ImagePatches: TypeAlias = NDArray[np.uint8]  # (n, x, y), 0..255 stands for [-1, 1]
LabelPatches: TypeAlias = NDArray[np.uint8]  # (n, x, y), 0 or 1

CHUNK = 4096  # rows, usually patches, that are converted at once


def chunks(rows: Any) -> Iterator[Any]:
    """Yield an array or tensor (n, ...) in pieces of CHUNK rows, which bounds the memory of intermediate results."""
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def to_levels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert intensities in [-1, 1] to levels 0..255; values outside are clipped."""
    levels = np.rint((np.asarray(image, np.float32) + np.float32(1.0)) * np.float32(127.5))
    clipped: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)
    return clipped


def from_levels(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert levels 0..255 to intensities in [-1, 1]."""
    return np.asarray(levels, np.float32) / np.float32(127.5) - np.float32(1.0)
