"""Cerebral arteries grown in 3D from the circle of Willis.

Coordinates are in millimetres, right-anterior-superior, with the origin at the centre of the circle. A tree is a set of points; each has
one parent, the next point towards the heart. It is grown in three steps:

1. Named trunks are splines through way points (tables below), which are perturbed for each patient. The left side mirrors the right.
2. End points are spread over each territory (middle, anterior and posterior cerebral, superior cerebellar artery). In the order of their
   distance from the trunk, each is connected by a winding branch to the point of the tree with the least cost of length and bend.
3. Radii are computed from the end points towards the roots: Murray's law (r0^3 = r1^3 + r2^3, Murray 1926) at bifurcations, a slight taper
   in between. The communicating arteries of the circle are thin branches that touch their second neighbour without being connected to it,
   so the law holds for them as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from angiosynth.phantom.head import HeadShape
from angiosynth.phantom.tubes import Points, Tubes, Values

Indices = NDArray[np.int64]

RIGHT, LEFT = 1, -1
STEP_MM = 0.8  # distance between the points of a path
TAPER = 0.0015  # relative increase of the radius per millimetre towards the heart
LEAF_RADIUS_MM = (0.55, 0.65)  # thinner arteries fill less than half of a 0.8 mm voxel
_MARGIN_MM = 3.5  # minimum depth of arteries below the brain's surface

# Way points of the arteries of the right side, starting from the heart; the left side mirrors them.
ICA = [(21, -6, -70), (22, -4, -45), (23, 4, -30), (15, -2, -20), (12, 6, -18), (11, 13, -13), (12, 9, -6), (13, 4, -1)]
M1 = [(20, 5, 1), (29, 6, 3), (37, 7, 4)]
M2_FRONT = [(41, 14, 8), (42, 18, 16), (50, 22, 26)]
M2_UPPER = [(42, 6, 10), (42, -2, 19), (50, -8, 26), (57, -14, 34)]
M2_LOWER = [(42, 0, 5), (43, -13, 11), (49, -26, 16), (55, -42, 22)]
A1 = [(9, 9, 1), (4, 14, 3)]
A2 = [(3, 22, 8), (3, 34, 18), (3, 34, 32), (3, 20, 42), (3, -4, 47), (3, -28, 44)]
BASILAR = [(2, -16, -75), (-1, -14, -50), (2, -13, -30), (0, -12, -14), (0, -11, -5)]
P1 = [(5, -12, -3), (11, -16, -2)]
P2 = [(18, -25, 0), (20, -37, 3), (15, -52, 6), (11, -68, 9)]
SCA = [(10, -17, -8), (19, -28, -9), (16, -44, -7), (11, -58, -8)]

# Standard deviation in mm, along x, y and z, of the way points of a trunk between patients; other trunks have the default.
WAY_POINT_SD_MM: dict[str, tuple[float, float, float]] = {"ACA": (0.9, 2.5, 2.5), "MCA": (1.8, 3.0, 3.0), "PCA": (2.2, 3.0, 2.5)}
DEFAULT_SD_MM = (1.3, 1.5, 1.5)
# Corners of the box of end points (right side, mm), and range of their depth below the surface in mm (None: not adjusted).
TERRITORIES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[float, float] | None]] = {
    "MCA": ((34, -66, -14), (62, 48, 58), (4.0, 18.0)),
    "ACA": ((2, -54, 4), (12, 62, 68), None),
    "PCA": ((5, -88, -10), (40, -48, 34), (4.0, 22.0)),
    "SCA": ((5, -72, -34), (38, -32, -8), None),
}
# Range of the number of end points of a territory on one side; the upper bound is exclusive.
LEAVES: dict[str, tuple[int, int]] = {"MCA": (30, 38), "ACA": (12, 16), "PCA": (7, 11), "SCA": (3, 6)}


@dataclass(frozen=True)
class Tree:
    """Arteries as points with one parent each.

    Attributes:
        points: (n, 3) in mm.
        parents: (n,) index of the point towards the heart, always a lower one; -1 for a root.
        radii_mm: (n,).
        flow: (n,) relative speed of the blood, 1 without a stenosis upstream.
        arteries: (n,) names, such as "MCA".
    """

    points: Points
    parents: Indices
    radii_mm: Values
    flow: Values
    arteries: NDArray[np.str_]

    def lengths_mm(self) -> Values:
        """Return the distance (n,) of each point to its parent; 0 for roots."""
        steps: Values = np.linalg.norm(self.points - self.points[np.maximum(self.parents, 0)], axis=1)
        return np.where(self.parents < 0, 0.0, steps)

    def tubes(self, signal: Values) -> Tubes:
        """Return the capsules from each point except the roots to its parent, with the signal (n,) of the points."""
        ends = np.flatnonzero(self.parents >= 0)
        starts = self.parents[ends]
        forks = np.bincount(starts, minlength=len(self.points)) > 1
        # At a bifurcation a branch starts with its radius instead of the parent's; the step is hidden inside the wider vessel.
        start_radii = np.where(forks[starts], self.radii_mm[ends], self.radii_mm[starts])
        return Tubes(self.points[starts], self.points[ends], start_radii, self.radii_mm[ends], signal[ends])


def murray_radii(parents: Indices, lengths_mm: Values, leaf_radii_mm: Values) -> Values:
    """Return the radii of the points of a tree by Murray's law, from the leaves to the roots.

    Args:
        parents: (n,) index of each point's parent, always lower than the point's index; -1 for roots.
        lengths_mm: (n,) distance to the parent.
        leaf_radii_mm: (n,) used only for points without children.

    Returns:
        (n,) in mm.
    """
    # Cubes of radii are summed towards the roots. Parents have lower indices than their children, so one pass from the last point suffices.
    # A single child's cube is increased by the taper over the distance; at bifurcations only Murray's law applies.
    children = np.bincount(parents[parents >= 0], minlength=len(parents))
    cubes = np.where(children == 0, leaf_radii_mm**3, 0.0)
    growth = (1 + TAPER * lengths_mm) ** 3
    for child in range(len(parents) - 1, -1, -1):
        parent = parents[child]
        if parent >= 0:
            cubes[parent] += cubes[child] * (growth[child] if children[parent] == 1 else 1.0)
    return np.cbrt(cubes)


class _Grower:
    """A tree under construction.

    Attributes:
        points, parents, arteries: as in `Tree`, of the points laid so far.
        fertile: (n,) whether branches may start at a point.
    """

    def __init__(self, head: HeadShape, rng: np.random.Generator) -> None:
        self.head, self.rng = head, rng
        self.points: Points = np.empty((0, 3))
        self.parents: Indices = np.empty(0, np.int64)
        self.arteries: list[str] = []
        self.fertile: NDArray[np.bool_] = np.empty(0, bool)

    def lay(self, path: Points, parent: int, artery: str, fertile: bool) -> int:
        """Append a path (k, 3) that continues the point `parent`, or is a root if it is -1; returns the index of the last point."""
        first, count = len(self.points), len(path)
        self.points = np.concatenate([self.points, path])
        self.parents = np.concatenate([self.parents, [parent], np.arange(first, first + count - 1)]).astype(np.int64)
        self.arteries += [artery] * count
        self.fertile = np.concatenate([self.fertile, np.full(count, fertile)])
        return first + count - 1

    def trunk(self, way: list[tuple[int, int, int]], side: int, parent: int, artery: str, fertile: bool = False) -> int:
        """Lay a named artery along its way points, scaled to the head and perturbed; returns the index of the last point."""
        knots = np.asarray(way, np.float64) * self.head.scale
        knots += self.rng.normal(0, 1.0, knots.shape) * WAY_POINT_SD_MM.get(artery, DEFAULT_SD_MM)
        knots *= [side, 1, 1]
        if parent >= 0:
            knots = np.concatenate([self.points[[parent]], knots])
        place = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
        count = max(int(place[-1] / STEP_MM), 2)
        path = CubicSpline(place, knots)(np.linspace(0, place[-1], count + 1))
        path += self._wind(count + 1, (0.3 if fertile else 0.18) * float(np.sqrt(place[-1])))
        if fertile:
            path = self.head.confined(path, _MARGIN_MM)
        return self.lay(path[1:] if parent >= 0 else path, parent, artery, fertile)

    def link(self, start: int, end: int, artery: str) -> int:
        """Lay a communicating artery from one point to another; returns the index of the last point."""
        return self.lay(self._path(self.points[start], self.points[end], follow_surface=False), start, artery, False)

    def fill(self, artery: str, side: int) -> None:
        """Grow branches from the trunks of an artery to end points spread over its territory, nearest first."""
        targets = _targets(self.head, self.rng, artery, side, int(self.rng.integers(*LEAVES[artery])))
        of_artery = np.array(self.arteries) == artery
        trunk = self.points[of_artery & (self.points[:, 0] * side > -3)]
        distance = np.linalg.norm(targets[:, None] - trunk[None], axis=2).min(axis=1)
        for target in targets[np.argsort(distance)]:
            self.branch(target, artery, side)

    def branch(self, target: NDArray[np.float64], artery: str, side: int) -> None:
        """Grow a branch to `target` (3,) from the point of the artery with the least cost, distance times a factor for the bend."""
        # Candidates: fertile points of this artery and side with at most one child, so that every fork is a bifurcation.
        children = np.bincount(self.parents[self.parents >= 0], minlength=len(self.points))
        of_artery = (np.array(self.arteries) == artery) & (self.points[:, 0] * side > -3)
        free = np.flatnonzero(self.fertile & (children < 2) & of_artery)
        ahead = target - self.points[free]
        distance = np.linalg.norm(ahead, axis=1) + 1e-6
        heading = self.points[free] - self.points[np.maximum(self.parents[free], 0)]
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-6
        # 0 straight on, 1 at a right angle, 2 backwards
        bend = 1 - (ahead * heading).sum(axis=1) / distance
        start = int(free[np.argmin(distance * (1 + 0.35 * bend))])
        path = self._path(self.points[start], target, follow_surface=True)
        self.lay(self.head.confined(path, _MARGIN_MM), start, artery, True)

    def _path(self, start: Points, end: Points, follow_surface: bool) -> Points:
        """A winding path (k, 3) from start (3,), excluded, to end (3,), along the chord or along the brain's surface."""
        length = float(np.linalg.norm(end - start))
        count = max(int(np.ceil(length / STEP_MM)), 2)
        fraction = np.linspace(0, 1, count + 1)[:, None]
        path = start + fraction * (end - start)
        if follow_surface:
            path = self.head.at_depth(path, fraction[:, 0])
        path = path + self._wind(count + 1, 0.1 * length if follow_surface else 0.03 * length)
        return np.asarray(path[1:])

    def _wind(self, count: int, amplitude_mm: float) -> Points:
        """Random offsets (count, 3) in mm that make a path wind: a sum of sine waves, zero at both ends."""
        fraction = np.linspace(0, np.pi, count)[:, None]
        waves = [self.rng.normal(0, amplitude_mm / order**0.7, 3) * np.sin(order * fraction) for order in (1, 2, 3, 4, 6)]
        return np.asarray(0.6 * np.sum(waves, axis=0))


def _targets(head: HeadShape, rng: np.random.Generator, artery: str, side: int, count: int) -> Points:
    """End points (count, 3) in mm of a territory. Each is the one of twelve random candidates that is farthest from the previous ones."""
    low, high, depth = TERRITORIES[artery]
    chosen: list[NDArray[np.float64]] = []
    while len(chosen) < count:
        trial = rng.uniform(low, high, (12, 3)) * head.scale * [side, 1, 1]
        trial = head.confined(head.to_depth(trial, rng.uniform(*depth, 12)), _MARGIN_MM) if depth else head.confined(trial, _MARGIN_MM)
        isolation = np.min([np.linalg.norm(trial - other, axis=1) for other in chosen], axis=0) if chosen else np.ones(12)
        chosen.append(trial[int(np.argmax(isolation))])
    return np.array(chosen)


def grow_tree(head: HeadShape, rng: np.random.Generator) -> Tree:
    """Grow the arteries of one healthy patient.

    Args:
        head: shape of the head.
        rng: draws all choices; equal states give equal trees.

    Returns:
        A tree whose roots are in the two carotids and the basilar artery, with `flow` 1 everywhere.
    """
    grower = _Grower(head, rng)
    basilar = grower.trunk(BASILAR, RIGHT, -1, "BA")
    fetal = rng.random(2) < 0.15  # variant: the carotid feeds the posterior cerebral artery
    near = [_grow_side(grower, side, basilar, bool(fetal[place])) for place, side in enumerate((RIGHT, LEFT))]
    if rng.random() < 0.12:  # variant: the anterior cerebral artery of one side feeds that of the other
        fed = int(rng.integers(2))
        near[fed] = grower.link(near[1 - fed], near[fed], "ACOM")
    elif rng.random() < 0.85:
        grower.link(near[0], near[1], "ACOM")
    for place, side in enumerate((RIGHT, LEFT)):
        grower.trunk(A2, side, near[place], "ACA", fertile=True)
        grower.fill("ACA", side)
    points, parents = grower.points, grower.parents
    tree = Tree(points, parents, np.ones(len(points)), np.ones(len(points)), np.array(grower.arteries))
    return replace(tree, radii_mm=murray_radii(parents, tree.lengths_mm(), rng.uniform(*LEAF_RADIUS_MM, len(points))))


def _grow_side(grower: _Grower, side: int, basilar: int, fetal: bool) -> int:
    """Grow the carotid, middle and posterior territories of one side; returns the index of the last point of A1, where A2 may start."""
    carotid = grower.trunk(ICA, side, -1, "ICA")
    communicating = carotid - 4  # shortly before the end of the carotid
    middle = grower.trunk(M1, side, carotid, "M1")
    for way, start in ((M2_UPPER, middle), (M2_LOWER, middle), (M2_FRONT, middle - 4)):
        grower.trunk(way, side, start, "MCA", fertile=True)
    grower.fill("MCA", side)
    first = grower.trunk(P1, side, basilar if side == RIGHT else basilar - 1, "P1")
    if fetal:
        posterior = grower.link(communicating, first, "PCOM")
    else:
        posterior = first
        if grower.rng.random() < 0.6:
            grower.link(communicating, first, "PCOM")
    grower.trunk(P2, side, posterior, "PCA", fertile=True)
    grower.fill("PCA", side)
    grower.trunk(SCA, side, basilar - (3 if side == RIGHT else 4), "SCA", fertile=True)
    grower.fill("SCA", side)
    return grower.trunk(A1, side, carotid, "A1")
