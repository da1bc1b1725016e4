"""Nearest distances between two masks.

Vessels are sparse, so surfaces are point sets in a k-d tree and no distance map of the whole grid is made: the work grows with the voxels
of the masks, not with the volume. Two facts save most of the searches:

- a point on both surfaces, like a voxel in both masks, has distance 0;
- the voxel of a mask that is nearest to a voxel outside it is always a surface voxel, so the trees of the surfaces serve the balanced
  average distance of all voxels as well.
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
LEAF = 32  # points a leaf of the tree: measured a quarter faster than 10 on vessels


@dataclass(frozen=True)
class Distances:
    """Nearest distances between two surfaces in both directions, or the penalty in their place; and the balanced average over all voxels.

    Attributes:
        truth_to_prediction: (n,) from each surface voxel of the truth.
        prediction_to_truth: (m,) from each surface voxel of the prediction.
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
        """The maximum of all distances."""
        return float(max(self.truth_to_prediction.max(), self.prediction_to_truth.max()))

    @property
    def assd(self) -> float:
        """The mean over both surfaces' voxels."""
        total = self.truth_to_prediction.sum() + self.prediction_to_truth.sum()
        return float(total / (self.truth_to_prediction.size + self.prediction_to_truth.size))


@dataclass(frozen=True)
class _MaskPoints:
    """One mask as points.

    Attributes:
        surface: all surface voxels.
        queries: voxels that need a search: surface voxels that are not shared, then interior voxels outside the other mask.
        surface_queries: how many of the queries are surface voxels.
        outside: for each query, whether it lies outside the other mask.
        shared: number of voxels on both surfaces.
    """

    surface: Points
    queries: Points
    surface_queries: int
    outside: NDArray[np.bool_]
    shared: int

    def distances_to(self, other: _MaskPoints, spacing: NDArray[np.float64]) -> tuple[Lengths, float]:
        """Distances (n,) of the surface voxels, in no order, and the sum of all voxels' distances."""
        distances = _nearest_distances(self.queries * spacing, other.surface * spacing)
        return np.concatenate([distances[: self.surface_queries], np.zeros(self.shared)]), float(distances[self.outside].sum())


@dataclass(frozen=True)
class MaskPair:
    """A true and a predicted mask, prepared for distances at any spacing."""

    points: tuple[_MaskPoints, _MaskPoints] | None  # of truth and prediction; None where a mask is empty
    true_voxels: int
    empty_masks: int  # 0, 1 or 2
    shape: tuple[int, ...]

    @classmethod
    def of(cls, truth: Mask, prediction: Mask) -> MaskPair:
        """From two boolean masks (x, y, z) of one shape."""
        # NIfTI files are read in Fortran order: transposed, such masks are contiguous without a copy.
        transposed = truth.flags.f_contiguous and prediction.flags.f_contiguous
        masks = [np.ascontiguousarray(mask.T if transposed else mask) for mask in (truth, prediction)]
        voxels = [np.flatnonzero(mask) for mask in masks]
        true_voxels, empty_masks = voxels[0].size, sum(indices.size == 0 for indices in voxels)
        if empty_masks:
            return cls(None, true_voxels, empty_masks, truth.shape)
        on_surface = [_is_surface(mask, indices) for mask, indices in zip(masks, voxels, strict=True)]
        places = [np.stack(np.unravel_index(indices, masks[0].shape)[:: -1 if transposed else 1], axis=1) for indices in voxels]
        # Coordinates count from the joint corner, so that a shift of both masks changes no bit of the result.
        corner = np.minimum(places[0].min(axis=0), places[1].min(axis=0))

        def points_of(this: int, other: int) -> _MaskPoints:
            surface = on_surface[this]
            unshared = surface.copy()
            unshared[surface] = np.isin(voxels[this][surface], voxels[other][on_surface[other]], assume_unique=True, invert=True)
            outside = ~masks[other].reshape(-1)[voxels[this]]
            order = np.concatenate([np.flatnonzero(unshared), np.flatnonzero(~surface & outside)])
            surface_queries, shared = int(np.count_nonzero(unshared)), int(np.count_nonzero(surface & ~unshared))
            return _MaskPoints(places[this][surface] - corner, places[this][order] - corner, surface_queries, outside[order], shared)

        return cls((points_of(0, 1), points_of(1, 0)), true_voxels, empty_masks, truth.shape)

    def distances(self, spacing_mm: SpacingMm) -> Distances:
        """Distances at a spacing, (1, 1, 1) for voxels. One empty mask gives the volume's diagonal, two give 0.

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
    """Whether each voxel of a mask, given by ascending flat indices (n,), has one of its six neighbours outside the mask."""
    flat = mask.reshape(-1)
    at_border = np.zeros(voxels.size, bool)
    remainder = voxels
    for size in reversed(mask.shape):
        remainder, position = np.divmod(remainder, size)
        at_border |= (position == 0) | (position == size - 1)
    # Voxels at the volume's border are surface; of the others neighbours are looked up by their flat index, one stride away.
    core = voxels[~at_border]
    surrounded = np.ones(core.size, bool)
    for stride in (1, mask.shape[2], mask.shape[1] * mask.shape[2]):
        surrounded &= flat[core - stride] & flat[core + stride]
    is_surface = at_border
    is_surface[~at_border] = ~surrounded
    return is_surface


def _nearest_distances(queries: NDArray[np.float64], others: NDArray[np.float64]) -> Lengths:
    """Distance of each query (n, 3) to the nearest of the others (m, 3); no tree is built for no queries."""
    if len(queries) == 0:
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
