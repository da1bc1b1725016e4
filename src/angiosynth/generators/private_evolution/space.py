"""The search space of private evolution: the phantom's settings, their public ranges, and their map to the unit cube."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

Points = NDArray[np.float64]  # (n, DIMENSIONS) in [0, 1]


@dataclass(frozen=True)
class Candidate:
    """Settings of a scanner for `Anatomy.scanned`."""

    slabs: int
    slab_step: float
    saturation: float
    vessel_contrast: float
    tissue_contrast: float
    vein_contrast: float
    noise: float
    blur_mm: float
    bias: float


@dataclass(frozen=True)
class Range:
    """The range of a setting; `log`: the scale is logarithmic."""

    low: float
    high: float
    log: bool = False


# Chosen from knowledge of TOF-MRA and of the phantom only, without any patient's data; wide enough for every scanner that the phantom can
# imitate.
RANGES: dict[str, Range] = {
    "slabs": Range(0.5, 4.5),
    "slab_step": Range(0.0, 0.35),
    "saturation": Range(0.1, 0.8),
    "vessel_contrast": Range(1.0, 3.0, log=True),
    "tissue_contrast": Range(0.5, 2.0, log=True),
    "vein_contrast": Range(0.4, 1.6, log=True),
    "noise": Range(0.02, 0.2, log=True),
    "blur_mm": Range(0.1, 0.9),
    "bias": Range(0.0, 0.5),
}
DIMENSIONS = len(RANGES)
assert tuple(RANGES) == tuple(field.name for field in fields(Candidate))


def candidate_at(point: NDArray[np.float64]) -> Candidate:
    """Map a point (DIMENSIONS,) of the unit cube to settings; the number of slabs is rounded."""
    values: dict[str, float] = {}
    for (name, spanned), place in zip(RANGES.items(), np.clip(point, 0, 1).tolist(), strict=True):
        if spanned.log:
            values[name] = float(spanned.low * (spanned.high / spanned.low) ** place)
        else:
            values[name] = spanned.low + (spanned.high - spanned.low) * place
    slabs = min(max(round(values.pop("slabs")), 1), 4)
    return Candidate(slabs=slabs, **values)


def point_of(candidate: Candidate) -> NDArray[np.float64]:
    """Map settings within the ranges to a point (DIMENSIONS,) of the unit cube."""
    places = []
    for value, spanned in zip(astuple(candidate), RANGES.values(), strict=True):
        place = (
            np.log(value / spanned.low) / np.log(spanned.high / spanned.low)
            if spanned.log
            else (value - spanned.low) / (spanned.high - spanned.low)
        )
        places.append(place)
    return np.asarray(places, np.float64)


def spread_points(count: int, seed: int) -> Points:
    """Return points (count, DIMENSIONS) evenly distributed over the cube: a scrambled Sobol sequence."""
    sobol = qmc.Sobol(DIMENSIONS, scramble=True, rng=np.random.default_rng(seed))
    return np.asarray(sobol.random_base2(int(np.ceil(np.log2(count))))[:count], np.float64)


def varied(parents: Points, weights: NDArray[np.float64], count: int, step: float, rng: np.random.Generator) -> Points:
    """Draw children of weighted parents.

    A child is the midpoint of a random parent and the weighted mean of all parents, plus a normal step, reflected at the sides of the cube.

    Args:
        parents: (n, DIMENSIONS).
        weights: (n,) of sum 1.
        count: number of children.
        step: standard deviation of the step in each dimension.
        rng: random numbers.

    Returns:
        Points (count, DIMENSIONS).
    """
    chosen = parents[rng.choice(len(parents), count, p=weights)]
    children = (chosen + weights @ parents) / 2 + step * rng.standard_normal((count, DIMENSIONS))
    return reflected(children)


def reflected(points: Points) -> Points:
    """Reflect points outside the unit cube at its sides."""
    folded = np.abs(points) % 2.0
    return np.asarray(np.where(folded > 1, 2 - folded, folded))
