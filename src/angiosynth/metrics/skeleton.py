"""Centre lines of three-dimensional masks, for clDice.

Thinning after Lee, Kashyap and Chu 1994 (Building skeleton models via 3-D medial surface/axis thinning algorithms): from six
directions in turn, the voxels at the border go whose removal changes no connected part, hole or cavity, but for the ends of lines;
until none is left that may go. Voxels are 26-connected, the background 6-connected. In each turn the voxels that might go are
looked at one after another in the order of their indices, since one that goes can be the reason why the next may not.

Which voxels go is worked out for all of a turn at once: first as if every one before it went, then again for those next to one that
stays, until nothing changes. Each depends on earlier ones alone, so this ends, and with what one after another would give. Work grows
with the voxels in the mask, not with the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask

Place: TypeAlias = tuple[int, int, int]  # of a voxel in the 3x3x3 around another, which is (1, 1, 1)
Codes: TypeAlias = NDArray[np.uint32]  # (n,) which of the 26 around each of n voxels are set, a bit a place
Voxels: TypeAlias = NDArray[np.int64]  # (n,) flat indices


def _bits(places: list[Place]) -> np.uint32:
    return np.uint32(sum(1 << (9 * x + 3 * y + z) for x, y, z in places))


_CUBE = [(x, y, z) for x in range(3) for y in range(3) for z in range(3)]
_EARLIER, _LATER = _CUBE[:13], _CUBE[14:]  # than the middle one
_AROUND = _EARLIER + _LATER
_TURNS: list[Place] = [(1, 0, 1), (1, 2, 1), (1, 1, 2), (1, 1, 0), (2, 1, 1), (0, 1, 1)]  # the side from which to thin
_FACES = _bits(_TURNS)
_FACES_AND_EDGES = _bits([place for place in _AROUND if 1 in place])
# A step along an axis shifts a code by 9, 3 or 1 bits; what would come out on the other side of the cube is masked away.
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
        (x, y, z) boolean: a part of the mask, with as many connected parts, holes and cavities.
    """
    places = _places(mask)
    if places[0].size == 0:
        return np.zeros(mask.shape, np.bool_)
    corner = [int(place.min()) - 1 for place in places]
    box = tuple(int(place.max()) - least + 2 for place, least in zip(places, corner, strict=True))
    inside = np.ravel_multi_index(tuple(place - least for place, least in zip(places, corner, strict=True)), box)
    left = np.unravel_index(_thinned(np.sort(inside), box), box)
    lines = np.zeros(mask.shape, np.bool_)
    lines[tuple(place + least for place, least in zip(left, corner, strict=True))] = True
    return lines


def _thinned(voxels: Voxels, box: tuple[int, ...]) -> Voxels:
    """The skeleton of a mask from its voxels, ascending; in the box there is a free voxel on every side of it."""
    codes: Codes = np.zeros(int(np.prod(box)), np.uint32)
    is_set, is_chosen, goes = (np.zeros(codes.size, np.bool_) for _ in range(3))
    is_set[voxels] = True
    codes[voxels] = _gathered(is_set, voxels, _AROUND, box)
    turn, unchanged = 0, 0
    while unchanged < len(_TURNS):
        side = _TURNS[turn % len(_TURNS)]
        chosen = voxels[(codes[voxels] & _bits([side])) == 0]
        around = codes[chosen]
        chosen = chosen[_is_simple(around) & (np.bitwise_count(around) > 1)]  # one neighbour: the end of a line
        is_chosen[chosen] = goes[chosen] = True
        looked_at = chosen
        while looked_at.size:
            may = _is_simple(codes[looked_at] & ~_gathered(goes, looked_at, _EARLIER, box))
            changed = looked_at[may != goes[looked_at]]
            goes[changed] ^= True
            near = np.concatenate([changed + _offset(place, box) for place in _LATER])
            looked_at = np.unique(near[is_chosen[near]])
        going = chosen[goes[chosen]]
        is_chosen[chosen] = goes[chosen] = False
        is_set[going] = False
        for place in _AROUND:
            codes[going - _offset(place, box)] &= ~_bits([place])
        voxels = voxels[is_set[voxels]]
        turn, unchanged = turn + 1, 0 if going.size else unchanged + 1
    return voxels


def _offset(place: Place, box: tuple[int, ...]) -> int:
    x, y, z = place
    return ((x - 1) * box[1] + y - 1) * box[2] + z - 1


def _gathered(flags: NDArray[np.bool_], voxels: Voxels, places: list[Place], box: tuple[int, ...]) -> Codes:
    """The flags around each voxel as a code."""
    codes = np.zeros(voxels.size, np.uint32)
    for place in places:
        codes |= flags[voxels + _offset(place, box)] * _bits([place])
    return codes


def _is_simple(codes: Codes) -> NDArray[np.bool_]:
    """Whether a voxel can go without a change of topology (Malandain and Bertrand 1992): the mask around it is one 26-connected part,
    and its free faces are joined by 6-connected free voxels among the 18 nearest."""
    free = ~codes & _FACES_AND_EDGES
    faces = free & _FACES
    one_part = _grown(codes, codes, _grow_26) == codes
    joined = (_grown(faces, free, _grow_6) & faces) == faces
    return np.asarray((codes != 0) & (faces != 0) & one_part & joined)


def _grown(codes: Codes, within: Codes, grow: Callable[[Codes], Codes]) -> Codes:
    """What is connected with each code's lowest bit."""
    reached = codes & (~codes + np.uint32(1))
    while True:
        wider = grow(reached) & within
        if np.array_equal(wider, reached):
            return reached
        reached = wider


def _grow_26(codes: Codes) -> Codes:
    for shift, up, down in _STEPS:
        codes = codes | ((codes & up) << shift) | ((codes & down) >> shift)
    return codes


def _grow_6(codes: Codes) -> Codes:
    wider: Any = codes
    for shift, up, down in _STEPS:
        wider = wider | ((codes & up) << shift) | ((codes & down) >> shift)
    return np.asarray(wider)


def _places(mask: Mask) -> tuple[Voxels, ...]:
    """As `np.nonzero`, in the order of memory, which is much faster."""
    if mask.flags.f_contiguous:
        return np.unravel_index(np.flatnonzero(mask.T), mask.shape[::-1])[::-1]
    return np.unravel_index(np.flatnonzero(mask), mask.shape)
