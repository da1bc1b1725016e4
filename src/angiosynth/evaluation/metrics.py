"""Overlap and surface distances of two masks, exact, in millimetres of the scan's spacing.

The surface of a mask is its voxels with at least one of six neighbours outside the mask; beyond the volume counts as outside.
The 95HD is the greater of the two directed 95th percentiles (linear interpolation) of nearest distances between surfaces, the
definition of MONAI's `compute_hausdorff_distance(percentile=95)`. Vessels are sparse, so the surfaces are point sets in a
k-d tree and no distance map of the whole grid is made.

Empty masks, everywhere in this module:

=================  ====  ========================  =========  ======
prediction, truth  DSC   distances                 precision  recall
=================  ====  ========================  =========  ======
both empty         1     0                         1          1
one of them empty  0     diagonal of the volume    0          0
=================  ====  ========================  =========  ======
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.errors import InputError

Points = NDArray[np.int64]  # (n, 3) voxel indices
Distances = NDArray[np.float64]  # (n,) millimetres, zero where the point lies on the other surface too


def dsc(truth: Mask, prediction: Mask) -> float:
    """Dice similarity coefficient of two masks (x, y, z), 0..1.

    Raises:
        InputError: the masks are not boolean, not three-dimensional, or of different shapes.
    """
    return _Overlap.of(truth, prediction).dsc


def precision(truth: Mask, prediction: Mask) -> float:
    """Share of the predicted voxels that are true, 0..1. Masks (x, y, z); raises InputError as `dsc` does."""
    return _Overlap.of(truth, prediction).precision


def recall(truth: Mask, prediction: Mask) -> float:
    """Share of the true voxels that are predicted, 0..1. Masks (x, y, z); raises InputError as `dsc` does."""
    return _Overlap.of(truth, prediction).recall


def hd95_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """95HD in millimetres: the greater of the two directed 95th percentiles.

    Args:
        truth: (x, y, z) boolean.
        prediction: (x, y, z) boolean, of the same shape.
        spacing_mm: size of a voxel along x, y, z.

    Raises:
        InputError: the masks are not boolean, not three-dimensional or of different shapes, or the spacing is not three positive numbers.
    """
    return _SurfaceDistances.of(truth, prediction, spacing_mm).hd95_mm


def hd_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """Maximum Hausdorff distance in millimetres. Arguments and errors as in `hd95_mm`."""
    return _SurfaceDistances.of(truth, prediction, spacing_mm).hd_mm


def assd_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """Average symmetric surface distance in millimetres: the mean over both surfaces' points. Arguments and errors as in `hd95_mm`."""
    return _SurfaceDistances.of(truth, prediction, spacing_mm).assd_mm


def all_metrics(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> dict[str, float]:
    """Every metric at the price of one distance search.

    Returns:
        dsc, hd95_mm, hd_mm, assd_mm, precision, recall, and empty: 1 where exactly one mask is empty, so that the distances are the
        volume's diagonal as a finite penalty, else 0. Arguments and errors as in `hd95_mm`.
    """
    overlap = _Overlap.of(truth, prediction)
    distances = _SurfaceDistances.of(truth, prediction, spacing_mm)
    return {
        "dsc": overlap.dsc,
        "hd95_mm": distances.hd95_mm,
        "hd_mm": distances.hd_mm,
        "assd_mm": distances.assd_mm,
        "precision": overlap.precision,
        "recall": overlap.recall,
        "empty": float((overlap.true == 0) != (overlap.predicted == 0)),
    }


@dataclass(frozen=True)
class _Overlap:
    """Numbers of voxels: in the truth, in the prediction, in both."""

    true: int
    predicted: int
    both: int

    @classmethod
    def of(cls, truth: Mask, prediction: Mask) -> _Overlap:
        _check_masks(truth, prediction)
        both = int(np.count_nonzero(truth & prediction))
        return cls(int(np.count_nonzero(truth)), int(np.count_nonzero(prediction)), both)

    @property
    def dsc(self) -> float:
        return _share(2 * self.both, self.true + self.predicted, 1.0)

    @property
    def precision(self) -> float:
        return _share(self.both, self.predicted, 1.0 if self.true == 0 else 0.0)

    @property
    def recall(self) -> float:
        return _share(self.both, self.true, 1.0 if self.predicted == 0 else 0.0)


@dataclass(frozen=True)
class _SurfaceDistances:
    """Nearest distances from each surface to the other, or the penalty that stands for them."""

    there: Distances  # from the truth's surface
    back: Distances  # from the prediction's surface

    @classmethod
    def of(cls, truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> _SurfaceDistances:
        _check_masks(truth, prediction)
        spacing = _checked_spacing(spacing_mm)
        if truth.flags.f_contiguous and prediction.flags.f_contiguous:  # as NIfTI files are read: no copy is needed either way round
            truth, prediction, spacing = truth.T, prediction.T, spacing[::-1]
        surfaces = _surface(truth), _surface(prediction)
        if surfaces[0].size == 0 and surfaces[1].size == 0:
            return cls(np.zeros(1), np.zeros(1))
        if surfaces[0].size == 0 or surfaces[1].size == 0:
            diagonal = np.array([float(np.linalg.norm(np.array(truth.shape) * spacing))])
            return cls(diagonal, diagonal)
        return cls(*_nearest(surfaces[0], surfaces[1], truth.shape, spacing))

    @property
    def hd95_mm(self) -> float:
        return float(max(np.percentile(self.there, 95), np.percentile(self.back, 95)))

    @property
    def hd_mm(self) -> float:
        return float(max(self.there.max(), self.back.max()))

    @property
    def assd_mm(self) -> float:
        return float((self.there.sum() + self.back.sum()) / (self.there.size + self.back.size))


def _surface(mask: Mask) -> NDArray[np.int64]:
    """Flat (C order) indices, ascending, of the mask's 6-connected surface voxels. Work grows with the voxels in the mask."""
    flat = np.ascontiguousarray(mask).reshape(-1)
    inside = np.flatnonzero(flat)
    at_border = np.zeros(inside.size, bool)
    rest = inside
    for size in reversed(mask.shape):
        rest, position = np.divmod(rest, size)
        at_border |= (position == 0) | (position == size - 1)
    core = inside[~at_border]
    surrounded = np.ones(core.size, bool)
    for step in (1, mask.shape[2], mask.shape[1] * mask.shape[2]):
        surrounded &= flat[core - step] & flat[core + step]
    is_surface = at_border
    is_surface[~at_border] = ~surrounded
    return inside[is_surface]


def _nearest(
    first: NDArray[np.int64], second: NDArray[np.int64], shape: Sequence[int], spacing: NDArray[np.float64]
) -> tuple[Distances, Distances]:
    """Millimetres from every point of `first` to the nearest of `second`, and the other way round. Flat indices in, unordered out."""
    points = [np.stack(np.unravel_index(surface, tuple(shape)), axis=1) for surface in (first, second)]
    # Measured from the joint corner, so that a shift of both masks changes no bit of the result.
    corner = np.minimum(points[0].min(axis=0), points[1].min(axis=0))
    places = [(cloud - corner) * spacing for cloud in points]
    shared = [np.isin(first, second, assume_unique=True), np.isin(second, first, assume_unique=True)]
    there, back = (_with_zeros(_to_nearest(places[me][~shared[me]], places[1 - me]), int(shared[me].sum())) for me in (0, 1))
    return there, back


def _to_nearest(places: NDArray[np.float64], others: NDArray[np.float64]) -> Distances:
    """Distance of each place (n, 3) to the nearest other (m, 3); the tree is built only where someone asks."""
    if len(places) == 0:
        return np.zeros(0)
    distances: Any = cKDTree(others, balanced_tree=False, compact_nodes=True).query(places)[0]
    return np.asarray(distances, np.float64)


def _with_zeros(distances: Distances, zeros: int) -> Distances:
    return np.concatenate([distances, np.zeros(zeros)])


def _share(part: int, whole: int, of_nothing: float) -> float:
    return part / whole if whole else of_nothing


def _check_masks(truth: Mask, prediction: Mask) -> None:
    for name, mask in (("truth", truth), ("prediction", prediction)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise InputError(
                f"{name}: its values are {getattr(mask, 'dtype', type(mask).__name__)}, not booleans; compare it with a threshold"
            )
        if mask.ndim != 3 or mask.size == 0:
            raise InputError(f"{name}: its shape is {mask.shape}, not three sizes above zero; give one whole volume (x, y, z)")
    if truth.shape != prediction.shape:
        raise InputError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape; bring both to the scan's own grid")


def _checked_spacing(spacing_mm: SpacingMm) -> NDArray[np.float64]:
    try:
        spacing = np.asarray(spacing_mm, np.float64)
    except (TypeError, ValueError):
        spacing = np.zeros(0)
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or not np.all(spacing > 0):
        raise InputError(f"spacing {spacing_mm!r} is not three positive numbers; give millimetres along x, y, z")
    return spacing
