"""Nearest distances between two masks.

Vessels fill about one percent of a volume. Surfaces are therefore stored as point sets in a k-d tree instead of computing a distance map of
the whole grid: the cost grows with the number of mask voxels, not with the volume. Two properties avoid most of the searches:

- A voxel on both surfaces has surface distance 0, and a voxel in both masks has voxel distance 0. Neither is searched.
- The voxel of a mask that is nearest to a voxel outside it always lies on the mask's surface, because one of the six neighbours of an
  interior voxel is nearer. The balanced average distance over all voxels can therefore use the same trees of surface voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.errors import InputError

Points: TypeAlias = NDArray[np.int64]  # (n, 3) voxel indices
Lengths: TypeAlias = NDArray[np.float64]  # (n,) in units of the spacing
LEAF = 32  # points in a leaf of the tree; measured a quarter faster on vessels than 10, the default


@dataclass(frozen=True)
class Distances:
    """Nearest distances between two surfaces in both directions, and the balanced average distance over all voxels.

    If exactly one mask is empty, all three hold the penalty, the diagonal of the volume.

    Attributes:
        truth_to_prediction: (n,) from each surface voxel of the truth to the nearest surface voxel of the prediction.
        prediction_to_truth: (m,) from each surface voxel of the prediction to the nearest surface voxel of the truth.
        bahd: balanced average Hausdorff distance.
    """

    truth_to_prediction: Lengths
    prediction_to_truth: Lengths
    bahd: float

    @property
    def hd95(self) -> float:
        """The greater of the two directed 95th percentiles."""
        return float(max(np.percentile(self.truth_to_prediction, 95), np.percentile(self.prediction_to_truth, 95)))

    @property
    def hd(self) -> float:
        """The maximum over both directions."""
        return float(max(self.truth_to_prediction.max(), self.prediction_to_truth.max()))

    @property
    def assd(self) -> float:
        """The mean over the voxels of both surfaces."""
        total = self.truth_to_prediction.sum() + self.prediction_to_truth.sum()
        return float(total / (self.truth_to_prediction.size + self.prediction_to_truth.size))


@dataclass(frozen=True)
class _MaskPoints:
    """The voxels of one mask, sorted into those that need a search and those whose distance is 0.

    Attributes:
        surface: (n, 3) all surface voxels.
        queries: (q, 3) voxels that need a search: surface voxels that are not shared, then interior voxels outside the other mask.
        surface_queries: number of surface voxels, which come first in `queries`.
        outside: (q,) whether each query lies outside the other mask.
        shared: number of voxels on both surfaces.
    """

    surface: Points
    queries: Points
    surface_queries: int
    outside: NDArray[np.bool_]
    shared: int

    def distances_to(self, other: _MaskPoints, spacing: NDArray[np.float64]) -> tuple[Lengths, float]:
        """Find the nearest distances (n,) of the surface voxels to the other surface, unordered, and the sum of all voxels' distances."""
        distances = _nearest_distances(self.queries * spacing, other.surface * spacing)
        # Shared surface voxels add zeros. A query inside the other mask has a surface distance, but its voxel distance is 0.
        return np.concatenate([distances[: self.surface_queries], np.zeros(self.shared)]), float(distances[self.outside].sum())


@dataclass(frozen=True)
class MaskPair:
    """A true and a predicted mask, prepared once for distances at any number of spacings."""

    points: tuple[_MaskPoints, _MaskPoints] | None  # of truth and prediction; None where a mask is empty
    true_voxels: int
    empty_masks: int  # 0, 1 or 2
    shape: tuple[int, ...]

    @classmethod
    def of(cls, truth: Mask, prediction: Mask) -> MaskPair:
        """Prepare two boolean masks (x, y, z) of equal shape."""
        # NIfTI files are read in Fortran order: transposed, such masks are contiguous without a copy.
        transposed = truth.flags.f_contiguous and prediction.flags.f_contiguous
        masks = [np.ascontiguousarray(mask.T if transposed else mask) for mask in (truth, prediction)]
        # Flat indices are ascending, so set operations on them need no sorting.
        voxels = [np.flatnonzero(mask) for mask in masks]
        true_voxels, empty_masks = voxels[0].size, sum(indices.size == 0 for indices in voxels)
        if empty_masks:
            return cls(None, true_voxels, empty_masks, truth.shape)
        on_surface = [_is_surface(mask, indices) for mask, indices in zip(masks, voxels, strict=True)]
        places = [np.stack(np.unravel_index(indices, masks[0].shape)[:: -1 if transposed else 1], axis=1) for indices in voxels]
        # Coordinates are relative to the common corner: shifting both masks leaves the result identical to the last bit.
        corner = np.minimum(places[0].min(axis=0), places[1].min(axis=0))

        def points_of(this: int, other: int) -> _MaskPoints:
            surface = on_surface[this]
            # surface voxels that are no surface voxels of the other mask
            unshared = surface.copy()
            unshared[surface] = np.isin(voxels[this][surface], voxels[other][on_surface[other]], assume_unique=True, invert=True)
            outside = ~masks[other].reshape(-1)[voxels[this]]
            # queries: unshared surface voxels first, then interior voxels outside the other mask
            order = np.concatenate([np.flatnonzero(unshared), np.flatnonzero(~surface & outside)])
            surface_queries, shared = int(np.count_nonzero(unshared)), int(np.count_nonzero(surface & ~unshared))
            return _MaskPoints(places[this][surface] - corner, places[this][order] - corner, surface_queries, outside[order], shared)

        return cls((points_of(0, 1), points_of(1, 0)), true_voxels, empty_masks, truth.shape)

    def distances(self, spacing_mm: SpacingMm) -> Distances:
        """Compute the distances at a spacing in millimetres; (1, 1, 1) gives distances in voxels.

        If one mask is empty every distance is the diagonal of the volume, if both are empty it is 0.

        Raises:
            InputError: the spacing is not three positive numbers.
        """
        spacing = _checked_spacing(spacing_mm)
        if self.points is None:
            penalty = float(np.linalg.norm(np.array(self.shape) * spacing)) if self.empty_masks == 1 else 0.0
            return Distances(np.array([penalty]), np.array([penalty]), penalty)
        truth, prediction = self.points
        to_prediction, false_negative_sum = truth.distances_to(prediction, spacing)
        to_truth, false_positive_sum = prediction.distances_to(truth, spacing)
        return Distances(to_prediction, to_truth, (false_negative_sum + false_positive_sum) / (2 * self.true_voxels))


def _is_surface(mask: Mask, voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each voxel of a mask has at least one of its six face neighbours outside the mask.

    Args:
        mask: (x, y, z) boolean, C-contiguous.
        voxels: (n,) ascending flat indices of the mask's voxels.
    """
    flat = mask.reshape(-1)
    at_border = np.zeros(voxels.size, bool)
    remainder = voxels
    for size in reversed(mask.shape):
        remainder, position = np.divmod(remainder, size)
        at_border |= (position == 0) | (position == size - 1)
    # Voxels at the border of the volume are surface. For the rest a face neighbour's flat index is one stride away and inside the volume.
    core = voxels[~at_border]
    surrounded = np.ones(core.size, bool)
    for stride in (1, mask.shape[2], mask.shape[1] * mask.shape[2]):
        surrounded &= flat[core - stride] & flat[core + stride]
    is_surface = at_border
    is_surface[~at_border] = ~surrounded
    return is_surface


def _nearest_distances(queries: NDArray[np.float64], others: NDArray[np.float64]) -> Lengths:
    """Distance (n,) from each query (n, 3) to the nearest of the other points (m, 3)."""
    if len(queries) == 0:  # building the tree would be wasted
        return np.zeros(0)
    distances: Any = cKDTree(others, leafsize=LEAF, balanced_tree=False, compact_nodes=False).query(queries)[0]
    return np.asarray(distances, np.float64)


def _checked_spacing(spacing_mm: SpacingMm) -> NDArray[np.float64]:
    try:
        spacing = np.asarray(spacing_mm, np.float64)
    except (TypeError, ValueError):
        spacing = np.zeros(0)
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or not np.all(spacing > 0):
        raise InputError(f"spacing {spacing_mm!r} is not three positive numbers; give millimetres along x, y, z")
    return spacing
