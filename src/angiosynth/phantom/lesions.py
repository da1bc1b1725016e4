"""Steno-occlusive disease: stenoses and occlusions in an arterial tree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from angiosynth.phantom.vessel_tree import Indices, Tree

LESIONS_ABOVE_MM = -25.0  # stenoses and occlusions lie above this height, inside the field of view


def diseased(tree: Tree, rng: np.random.Generator) -> Tree:
    """Add steno-occlusive disease to a tree: one to three stenoses, and an occlusion in about a third of patients."""
    if rng.random() < 0.35:
        tree = occlude(tree, _lesion(tree, rng))
    for _ in range(int(rng.integers(1, 4))):
        tree = narrow(tree, _lesion(tree, rng), float(rng.uniform(0.4, 0.75)), float(rng.uniform(2.0, 4.0)))
    return tree


def _lesion(tree: Tree, rng: np.random.Generator) -> int:
    """Index of a random point on one of the large arteries in the field of view; M1 has twice the probability."""
    in_view = tree.points[:, 2] > LESIONS_ABOVE_MM
    present = set(tree.arteries[in_view].tolist())
    artery = str(rng.choice([name for name in ("ICA", "M1", "M1", "A1", "P1", "BA") if name in present]))
    return int(rng.choice(np.flatnonzero(in_view & (tree.arteries == artery))))


def narrow(tree: Tree, place: int, severity: float, half_length_mm: float) -> Tree:
    """Add a stenosis.

    Args:
        tree: the arteries.
        place: index of the point with the greatest narrowing.
        severity: relative loss of radius at that point, 0..1; it decreases along the artery as a Gaussian.
        half_length_mm: distance at which the loss has decreased to 37%.

    Returns:
        A tree with changed radii and slower flow downstream.
    """
    near = np.linalg.norm(tree.points - tree.points[place], axis=1)
    stems = _stems(tree)  # tells left from right: the opposite artery of the same name may be close
    shape = np.where(stems == stems[place], np.exp(-((near / half_length_mm) ** 2)), 0.0)
    downstream = _downstream(tree, place)
    return replace(tree, radii_mm=tree.radii_mm * (1 - severity * shape), flow=tree.flow * np.where(downstream, 1 - 0.4 * severity, 1.0))


def occlude(tree: Tree, place: int) -> Tree:
    """Remove the point `place` and all points downstream; parent indices are renumbered."""
    kept = np.flatnonzero(~_downstream(tree, place))
    # The last entry of new_index serves the root, whose parent is -1, and stays -1.
    new_index = np.full(len(tree.points) + 1, -1)
    new_index[kept] = np.arange(len(kept))
    return Tree(tree.points[kept], new_index[tree.parents[kept]], tree.radii_mm[kept], tree.flow[kept], tree.arteries[kept])


def _stems(tree: Tree) -> Indices:
    """Index (n,) of the first point of the artery to which each point belongs."""
    stems = np.arange(len(tree.points))
    for point, parent in enumerate(tree.parents):
        if parent >= 0 and tree.arteries[point] == tree.arteries[parent]:
            stems[point] = stems[parent]
    return stems


def _downstream(tree: Tree, place: int) -> NDArray[np.bool_]:
    """Whether each point (n,) is `place` or a descendant of it. Parents precede children, so one pass suffices."""
    downstream = np.zeros(len(tree.points), bool)
    downstream[place] = True
    for point in range(place + 1, len(downstream)):
        downstream[point] = tree.parents[point] >= 0 and downstream[tree.parents[point]]
    return downstream
