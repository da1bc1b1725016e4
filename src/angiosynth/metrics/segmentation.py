"""Overlap, centre-line and distance metrics of two masks. Distances are exact, in millimetres at the scan's spacing or in voxels.

The surface of a mask consists of its voxels with at least one of six face neighbours outside the mask; beyond the border of the volume
counts as outside. The 95HD is the greater of the two directed 95th percentiles (linear interpolation) of nearest distances between
surfaces, as defined by MONAI's `compute_hausdorff_distance(percentile=95)`.

The balanced average Hausdorff distance is taken over all voxels instead of surfaces. The sums of both directions are divided by the
number of true voxels, so that a large prediction is not rewarded for its size (Aydin et al. 2021, doi 10.1186/s41747-020-00200-2).

Distances in voxels are distances at spacing (1, 1, 1): for scans of uncertain voxel size, and for comparison with publications that state
no unit.

Empty masks, in every function of this module:

=================  ====  ======  ========================  =========  ======
prediction, truth  DSC   clDice  distances                 precision  recall
=================  ====  ======  ========================  =========  ======
both empty         1     1       0                         1          1
one of them empty  0     0       diagonal of the volume    0          0
=================  ====  ======  ========================  =========  ======
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.errors import InputError
from angiosynth.metrics.distances import MaskPair
from angiosynth.metrics.scores import Scores
from angiosynth.metrics.skeleton import skeleton

VOXELS: SpacingMm = (1.0, 1.0, 1.0)  # the spacing at which distances are in voxels


def dsc(truth: Mask, prediction: Mask) -> float:
    """Dice similarity coefficient of two masks (x, y, z), 0..1.

    Raises:
        InputError: the masks are not boolean, not three-dimensional, or of different shapes.
    """
    return _Overlap.of(truth, prediction).dsc


def precision(truth: Mask, prediction: Mask) -> float:
    """Return the fraction of the predicted voxels that are true, 0..1. Masks (x, y, z); raises InputError as `dsc` does."""
    return _Overlap.of(truth, prediction).precision


def recall(truth: Mask, prediction: Mask) -> float:
    """Return the fraction of the true voxels that are predicted, 0..1. Masks (x, y, z); raises InputError as `dsc` does."""
    return _Overlap.of(truth, prediction).recall


def cldice(truth: Mask, prediction: Mask) -> float:
    """Centre line Dice, 0..1: the agreement of two vessel trees, independent of vessel width (Shit et al. 2021, arXiv 2003.07311).

    The harmonic mean of topology precision (fraction of the predicted centre lines inside the true mask) and topology sensitivity
    (fraction of the true centre lines inside the predicted mask). Masks (x, y, z); raises InputError as `dsc` does.
    """
    _check_masks(truth, prediction)
    # Centre lines are one voxel wide, so a vessel counts by its length. A wrong width costs nothing while each line lies in the other mask.
    true_lines, predicted_lines = skeleton(truth), skeleton(prediction)
    inside = int(np.count_nonzero(predicted_lines & truth)), int(np.count_nonzero(true_lines & prediction))
    lines = int(np.count_nonzero(predicted_lines)), int(np.count_nonzero(true_lines))
    if 0 in lines:  # at least one mask is empty: perfect agreement only if both are
        return float(lines == (0, 0))
    topology_precision, topology_sensitivity = inside[0] / lines[0], inside[1] / lines[1]
    return _ratio(2 * topology_precision * topology_sensitivity, topology_precision + topology_sensitivity, 0.0)


def hd95_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """95HD in millimetres: the greater of the two directed 95th percentiles.

    Args:
        truth: (x, y, z) boolean.
        prediction: (x, y, z) boolean, of the same shape.
        spacing_mm: size of a voxel along x, y, z; `VOXELS` for the distance in voxels.

    Raises:
        InputError: the masks are not boolean, not three-dimensional or of different shapes, or the spacing is not three positive numbers.
    """
    return _pair(truth, prediction).distances(spacing_mm).hd95


def hd_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """Maximum Hausdorff distance in millimetres. Arguments and errors as in `hd95_mm`."""
    return _pair(truth, prediction).distances(spacing_mm).hd


def assd_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """Average symmetric surface distance in millimetres, over the voxels of both surfaces. Arguments and errors as in `hd95_mm`."""
    return _pair(truth, prediction).distances(spacing_mm).assd


def bahd_mm(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> float:
    """Balanced average Hausdorff distance in millimetres (Aydin et al. 2021).

    Half the sum of the voxel distances in both directions, divided by the number of true voxels; not symmetric in its arguments.
    Arguments and errors as in `hd95_mm`.
    """
    return _pair(truth, prediction).distances(spacing_mm).bahd


def all_metrics(truth: Mask, prediction: Mask, spacing_mm: SpacingMm) -> dict[str, float]:
    """Compute all `Scores` of a prediction, by name. Arguments and errors as in `hd95_mm`.

    The surfaces are extracted once and searched twice, for distances in millimetres and in voxels.
    """
    overlap = _Overlap.of(truth, prediction)
    pair = _pair(truth, prediction)
    millimetres, voxels = pair.distances(spacing_mm), pair.distances(VOXELS)
    scores = Scores(
        dsc=overlap.dsc,
        hd95_mm=millimetres.hd95,
        hd_mm=millimetres.hd,
        assd_mm=millimetres.assd,
        precision=overlap.precision,
        recall=overlap.recall,
        cldice=cldice(truth, prediction),
        bahd_mm=millimetres.bahd,
        hd95_voxels=voxels.hd95,
        hd_voxels=voxels.hd,
        assd_voxels=voxels.assd,
        bahd_voxels=voxels.bahd,
        empty=int((overlap.true == 0) != (overlap.predicted == 0)),
    )
    return asdict(scores)


@dataclass(frozen=True)
class _Overlap:
    """Voxel counts of the truth, of the prediction, and of their intersection."""

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
        return _ratio(2 * self.both, self.true + self.predicted, 1.0)

    @property
    def precision(self) -> float:
        return _ratio(self.both, self.predicted, 1.0 if self.true == 0 else 0.0)

    @property
    def recall(self) -> float:
        return _ratio(self.both, self.true, 1.0 if self.predicted == 0 else 0.0)


def _pair(truth: Mask, prediction: Mask) -> MaskPair:
    _check_masks(truth, prediction)
    return MaskPair.of(truth, prediction)


def _ratio(numerator: float, denominator: float, default: float) -> float:
    return numerator / denominator if denominator else default


def _check_masks(truth: Mask, prediction: Mask) -> None:
    for name, mask in (("truth", truth), ("prediction", prediction)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise InputError(
                f"{name}: its values are {getattr(mask, 'dtype', type(mask).__name__)}, not booleans; compare it with a threshold"
            )
        if mask.ndim != 3 or mask.size == 0:
            raise InputError(f"{name}: its shape is {mask.shape}, not three sizes above zero; give one whole volume (x, y, z)")
    if truth.shape != prediction.shape:
        raise InputError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape; bring both to the scan's grid")
