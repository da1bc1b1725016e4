"""Centre lines of three-dimensional masks, for clDice.

Thinning after Lee, Kashyap and Chu 1994 (Building skeleton models via 3-D medial surface/axis thinning algorithms). A pass removes, from
one of six directions, the border voxels whose removal changes neither connected components nor holes nor cavities; ends of lines are kept.
Passes go on until six in a row remove nothing. Voxels are 26-connected, the background 6-connected. Within a pass the published algorithm
tests candidates one after another in the order of their indices, since the removal of one can forbid that of the next.

Here removals are decided in parallel, then neighbours are rechecked until nothing changes: all candidates are tested as if every earlier
candidate were removed; where a decision changes, the later neighbours are tested again. A decision depends on earlier voxels alone, so the
recheck ends, with the result of the sequential order. Work grows with the voxels in the mask, not with the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask

Place: TypeAlias = tuple[int, int, int]  # in the 3x3x3 neighbourhood of a voxel, which is (1, 1, 1)
Codes: TypeAlias = NDArray[np.uint32]  # (n,) the 26 neighbours of n voxels as bit sets, bit 9 x + 3 y + z for place (x, y, z)
Voxels: TypeAlias = NDArray[np.int64]  # (n,) flat indices


def _bits(places: list[Place]) -> np.uint32:
    return np.uint32(sum(1 << (9 * x + 3 * y + z) for x, y, z in places))


_CUBE = [(x, y, z) for x in range(3) for y in range(3) for z in range(3)]
_EARLIER, _LATER = _CUBE[:13], _CUBE[14:]  # neighbours of lower and of higher flat index than the voxel's
_AROUND = _EARLIER + _LATER
_DIRECTIONS: list[Place] = [(1, 0, 1), (1, 2, 1), (1, 1, 2), (1, 1, 0), (2, 1, 1), (0, 1, 1)]  # a pass thins from each in turn
_FACES = _bits(_DIRECTIONS)
_FACES_AND_EDGES = _bits([place for place in _AROUND if 1 in place])
# A step along an axis shifts a code by 9, 3 or 1 bits; bits that would wrap to the opposite side of the cube are masked.
_STEPS = [
    (np.uint32(shift), _bits([place for place in _CUBE if place[axis] < 2]), _bits([place for place in _CUBE if place[axis] > 0]))
    for axis, shift in enumerate((9, 3, 1))
]


def skeleton(mask: Mask) -> Mask:
    """Centre lines of a mask, voxel for voxel those of scikit-image's `skeletonize(mask, method="lee")`.

    A shift of the mask, and a wider or narrower volume around it, change nothing; another order of the axes does.

    Args:
        mask: (x, y, z) boolean.

    Returns:
        (x, y, z) boolean: a subset of the mask with as many connected components, holes and cavities.
    """
    places = _places(mask)
    if places[0].size == 0:
        return np.zeros(mask.shape, np.bool_)
    corner = [int(place.min()) - 1 for place in places]
    box = tuple(int(place.max()) - least + 2 for place, least in zip(places, corner, strict=True))
    inside = np.ravel_multi_index(tuple(place - least for place, least in zip(places, corner, strict=True)), box)
    kept = np.unravel_index(_thinned(np.sort(inside), box), box)
    lines = np.zeros(mask.shape, np.bool_)
    lines[tuple(place + least for place, least in zip(kept, corner, strict=True))] = True
    return lines


def _thinned(voxels: Voxels, box: tuple[int, ...]) -> Voxels:
    """Voxels of the skeleton of a mask, from the mask's, ascending; the box has a margin of one free voxel on every side."""
    # Each voxel's code is kept up to date, so that a pass looks at codes alone and never at the volume.
    codes: Codes = np.zeros(int(np.prod(box)), np.uint32)
    is_set, is_candidate, is_removed = (np.zeros(codes.size, np.bool_) for _ in range(3))
    is_set[voxels] = True
    codes[voxels] = _neighbour_codes(is_set, voxels, _AROUND, box)
    direction, unchanged = 0, 0
    while unchanged < len(_DIRECTIONS):
        # candidates: border voxels on this side that could be removed alone; one neighbour is the end of a line
        side = _bits([_DIRECTIONS[direction % len(_DIRECTIONS)]])
        candidates = voxels[(codes[voxels] & side) == 0]
        around = codes[candidates]
        candidates = candidates[_is_simple(around) & (np.bitwise_count(around) > 1)]
        # decide all in parallel, then recheck the later neighbours of each changed decision
        is_candidate[candidates] = is_removed[candidates] = True
        unchecked = candidates
        while unchecked.size:
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
    """From a voxel's flat index to that of its neighbour at a place."""
    x, y, z = place
    return ((x - 1) * box[1] + y - 1) * box[2] + z - 1


def _neighbour_codes(flags: NDArray[np.bool_], voxels: Voxels, places: list[Place], box: tuple[int, ...]) -> Codes:
    """The flags of each voxel's neighbours at some places, as codes."""
    codes = np.zeros(voxels.size, np.uint32)
    for place in places:
        codes |= flags[voxels + _offset(place, box)] * _bits([place])
    return codes


def _is_simple(codes: Codes) -> NDArray[np.bool_]:
    """Whether removing each voxel keeps the topology, by its neighbours (Malandain and Bertrand 1992).

    Two conditions: the set neighbours are one 26-connected component, and the free face neighbours are 6-connected through free voxels
    among the 18 that share a face or an edge with the voxel.
    """
    free = ~codes & _FACES_AND_EDGES
    faces = free & _FACES
    one_component = _component(codes, codes, _grow_26) == codes
    joined = (_component(faces, free, _grow_6) & faces) == faces
    return np.asarray((codes != 0) & (faces != 0) & one_component & joined)


def _component(codes: Codes, within: Codes, grow: Callable[[Codes], Codes]) -> Codes:
    """The component of each code's lowest bit within a bit set, by flood fill: grow by one step until nothing changes."""
    reached = codes & (~codes + np.uint32(1))  # the lowest set bit
    while True:
        wider = grow(reached) & within
        if np.array_equal(wider, reached):
            return reached
        reached = wider


def _grow_26(codes: Codes) -> Codes:
    """Add all 26 neighbours: along the axes one after the other, each from what the last one has reached."""
    for shift, up, down in _STEPS:
        codes = codes | ((codes & up) << shift) | ((codes & down) >> shift)
    return codes


def _grow_6(codes: Codes) -> Codes:
    """Add the 6 face neighbours: along each axis from the first set."""
    wider: Any = codes
    for shift, up, down in _STEPS:
        wider = wider | ((codes & up) << shift) | ((codes & down) >> shift)
    return np.asarray(wider)


def _places(mask: Mask) -> tuple[Voxels, ...]:
    """As `np.nonzero`, but scanning in memory order, which is much faster."""
    if mask.flags.f_contiguous:
        return np.unravel_index(np.flatnonzero(mask.T), mask.shape[::-1])[::-1]
    return np.unravel_index(np.flatnonzero(mask), mask.shape)
