"""Centre lines of three-dimensional masks, for clDice.

Thinning after Lee, Kashyap and Chu 1994 (Building skeleton models via 3-D medial surface/axis thinning algorithms). Each pass removes
border voxels on one of six sides if their removal changes neither connected components nor holes nor cavities; ends of lines are kept.
The algorithm stops when six passes in a row remove nothing. Voxels are 26-connected, the background 6-connected. Within a pass the
published algorithm tests the candidates one by one in the order of their indices, because a removal can make the next one inadmissible.

Here removals are decided in parallel, then neighbours are rechecked until nothing changes. First every candidate is tested as if all
earlier candidates were removed. Whenever a decision changes, its later neighbours are tested again. Why this gives the sequential result:
a decision depends only on voxels of lower index, so after the k-th round at least the first k candidates are final, by induction. In
practice a few rounds suffice. The cost grows with the number of voxels in the mask, not with the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask

Place: TypeAlias = tuple[int, int, int]  # position in the 3x3x3 neighbourhood of a voxel, whose centre is (1, 1, 1)
Codes: TypeAlias = NDArray[np.uint32]  # (n,) 26-neighbourhoods of n voxels as bit sets; bit 9 x + 3 y + z stands for place (x, y, z)
Voxels: TypeAlias = NDArray[np.int64]  # (n,) flat indices


def _bits(places: list[Place]) -> np.uint32:
    return np.uint32(sum(1 << (9 * x + 3 * y + z) for x, y, z in places))


_CUBE = [(x, y, z) for x in range(3) for y in range(3) for z in range(3)]
_EARLIER, _LATER = _CUBE[:13], _CUBE[14:]  # neighbours with lower and with higher flat index than the voxel
_AROUND = _EARLIER + _LATER
_DIRECTIONS: list[Place] = [(1, 0, 1), (1, 2, 1), (1, 1, 2), (1, 1, 0), (2, 1, 1), (0, 1, 1)]  # the sides of successive passes
_FACES = _bits(_DIRECTIONS)
_FACES_AND_EDGES = _bits([place for place in _AROUND if 1 in place])
# A step along an axis shifts a code by 9, 3 or 1 bits; bits that would wrap to the opposite side of the cube are masked.
_STEPS = [
    (np.uint32(shift), _bits([place for place in _CUBE if place[axis] < 2]), _bits([place for place in _CUBE if place[axis] > 0]))
    for axis, shift in enumerate((9, 3, 1))
]


def skeleton(mask: Mask) -> Mask:
    """Compute the centre lines of a mask, identical to those of scikit-image's `skeletonize(mask, method="lee")`.

    The result is invariant to shifts of the mask and to the size of the surrounding volume, but not to the order of the axes.

    Args:
        mask: (x, y, z) boolean.

    Returns:
        (x, y, z) boolean: a subset of the mask with the same number of connected components, holes and cavities.
    """
    places = _places(mask)
    if places[0].size == 0:
        return np.zeros(mask.shape, np.bool_)
    # Thin within the bounding box plus one background voxel on every side, so that all neighbours exist.
    corner = [int(place.min()) - 1 for place in places]
    box = tuple(int(place.max()) - least + 2 for place, least in zip(places, corner, strict=True))
    inside = np.ravel_multi_index(tuple(place - least for place, least in zip(places, corner, strict=True)), box)
    kept = np.unravel_index(_thinned(np.sort(inside), box), box)
    lines = np.zeros(mask.shape, np.bool_)
    lines[tuple(place + least for place, least in zip(kept, corner, strict=True))] = True
    return lines


def _thinned(voxels: Voxels, box: tuple[int, ...]) -> Voxels:
    """Thin a mask, given by the ascending flat indices of its voxels in a box with a background margin of one voxel; gives those left."""
    # The neighbourhood code of every voxel is updated after each pass, so that tests read the codes and never the volume.
    codes: Codes = np.zeros(int(np.prod(box)), np.uint32)
    is_set, is_candidate, is_removed = (np.zeros(codes.size, np.bool_) for _ in range(3))
    is_set[voxels] = True
    codes[voxels] = _neighbour_codes(is_set, voxels, _AROUND, box)
    direction, unchanged = 0, 0
    while unchanged < len(_DIRECTIONS):
        # candidates: border voxels on this side that could be removed on their own; a voxel with one neighbour ends a line and stays
        side = _bits([_DIRECTIONS[direction % len(_DIRECTIONS)]])
        candidates = voxels[(codes[voxels] & side) == 0]
        around = codes[candidates]
        candidates = candidates[_is_simple(around) & (np.bitwise_count(around) > 1)]
        # decide all in parallel, then recheck the later neighbours of each changed decision
        is_candidate[candidates] = is_removed[candidates] = True
        unchecked = candidates
        while unchecked.size:
            # the neighbourhood as the sequential algorithm would see it: earlier voxels removed as decided so far, later ones still set
            removable = _is_simple(codes[unchecked] & ~_neighbour_codes(is_removed, unchecked, _EARLIER, box))
            changed = unchecked[removable != is_removed[unchecked]]
            is_removed[changed] ^= True
            neighbours = np.concatenate([changed + _offset(place, box) for place in _LATER])
            unchecked = np.unique(neighbours[is_candidate[neighbours]])
        # remove, and clear the removed voxels' bits in the codes of their neighbours
        removed = candidates[is_removed[candidates]]
        is_candidate[candidates] = is_removed[candidates] = False
        is_set[removed] = False
        for place in _AROUND:
            codes[removed - _offset(place, box)] &= ~_bits([place])
        voxels = voxels[is_set[voxels]]
        direction, unchanged = direction + 1, 0 if removed.size else unchanged + 1
    return voxels


def _offset(place: Place, box: tuple[int, ...]) -> int:
    """Difference between the flat index of the neighbour at a place and that of the voxel."""
    x, y, z = place
    return ((x - 1) * box[1] + y - 1) * box[2] + z - 1


def _neighbour_codes(flags: NDArray[np.bool_], voxels: Voxels, places: list[Place], box: tuple[int, ...]) -> Codes:
    """Neighbourhood codes (n,) of voxels (n,): the bit of each given place is set if the neighbour's flag is set."""
    codes = np.zeros(voxels.size, np.uint32)
    for place in places:
        codes |= flags[voxels + _offset(place, box)] * _bits([place])
    return codes


def _is_simple(codes: Codes) -> NDArray[np.bool_]:
    """Whether each voxel is simple, which means that its removal preserves the topology (Malandain and Bertrand 1992).

    Two conditions on the neighbourhood: the foreground neighbours form one 26-connected component, and the background face neighbours are
    6-connected with each other through background voxels among the 18 that share a face or an edge with the voxel.
    """
    free = ~codes & _FACES_AND_EDGES
    faces = free & _FACES
    one_component = _component(codes, codes, _grow_26) == codes
    joined = (_component(faces, free, _grow_6) & faces) == faces
    return np.asarray((codes != 0) & (faces != 0) & one_component & joined)


def _component(codes: Codes, within: Codes, grow: Callable[[Codes], Codes]) -> Codes:
    """Flood fill from the lowest bit of each code within a bit set: grow by one step until nothing changes."""
    reached = codes & (~codes + np.uint32(1))  # the lowest set bit
    while True:
        wider = grow(reached) & within
        if np.array_equal(wider, reached):
            return reached
        reached = wider


def _grow_26(codes: Codes) -> Codes:
    """Add all 26 neighbours: dilate along one axis after the other, each time from the previous result."""
    for shift, up, down in _STEPS:
        codes = codes | ((codes & up) << shift) | ((codes & down) >> shift)
    return codes


def _grow_6(codes: Codes) -> Codes:
    """Add the 6 face neighbours: dilate the original set along each axis and unite the results."""
    wider: Any = codes
    for shift, up, down in _STEPS:
        wider = wider | ((codes & up) << shift) | ((codes & down) >> shift)
    return np.asarray(wider)


def _places(mask: Mask) -> tuple[Voxels, ...]:
    """Coordinates of the true voxels, as `np.nonzero`, but scanned in memory order, which is much faster."""
    if mask.flags.f_contiguous:
        return np.unravel_index(np.flatnonzero(mask.T), mask.shape[::-1])[::-1]
    return np.unravel_index(np.flatnonzero(mask), mask.shape)
