"""Centre lines: against thinning voxel by voxel, against scikit-image's, and by what must never change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from angiosynth.arrays import Mask
from angiosynth.metrics.skeleton import skeleton

ALL_26 = np.ones((3, 3, 3))
FACES_6 = ndimage.generate_binary_structure(3, 1)
SIDES = [(0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0)]


def parts(mask: Mask, neighbours: Any) -> int:
    return int(ndimage.label(mask, neighbours)[1])


def topology(mask: Mask) -> tuple[int, int, int]:
    """Connected parts, cavities, and the Euler number of the voxels as closed cubes, from which the holes follow."""
    padded = np.pad(mask, 1)
    cells = 0
    for axes in np.ndindex(2, 2, 2):  # a cube's corner, edges, faces and inside, each counted once where a voxel touches it
        touched = padded
        for axis, across in enumerate(axes):
            if across:
                touched = touched | np.roll(touched, 1, axis)
        cells += int(touched.sum()) * (-1) ** (3 - sum(axes))
    return parts(mask, ALL_26), parts(~padded, FACES_6) - 1, cells


def is_simple(around: Mask) -> bool:
    """Whether the middle of 3x3x3 can go: one part of mask around it, one part of background that touches its faces."""
    mask, free = around.copy(), ~around
    mask[1, 1, 1] = free[1, 1, 1] = False
    free &= ndimage.generate_binary_structure(3, 2)
    labels = ndimage.label(free, FACES_6)[0]
    touching = set(labels[np.array([1, 1, 1, 1, 0, 2]), np.array([1, 1, 0, 2, 1, 1]), np.array([0, 2, 1, 1, 1, 1])]) - {0}
    return parts(mask, ALL_26) == 1 and len(touching) == 1


def thinned_one_by_one(mask: Mask) -> Mask:
    """The definition: from each side in turn, choose, then look at each again before it goes."""
    volume = np.pad(mask, 1)
    unchanged = 0
    while unchanged < len(SIDES):
        for side in SIDES:
            chosen = []
            for x, y, z in np.argwhere(volume):
                around = volume[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2]
                if not volume[x + side[0], y + side[1], z + side[2]] and around.sum() != 2 and is_simple(around):
                    chosen.append((x, y, z))
            gone = 0
            for x, y, z in chosen:
                if is_simple(volume[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2]):
                    volume[x, y, z] = False
                    gone += 1
            unchanged = 0 if gone else unchanged + 1
    return volume[1:-1, 1:-1, 1:-1]


@st.composite
def masks(draw: st.DrawFn, most: int) -> Mask:
    """Noise, or lumps, of any density."""
    shape = draw(st.tuples(*[st.integers(1, most)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        return np.asarray(rng.random(shape) < draw(st.sampled_from([0.05, 0.4, 0.7, 0.95])))
    return np.asarray(ndimage.binary_dilation(rng.random(shape) < 0.03, FACES_6, iterations=2))


@settings(max_examples=25, deadline=None)
@given(masks(6))
def test_agrees_with_thinning_one_by_one(mask: Mask) -> None:
    np.testing.assert_array_equal(skeleton(mask), thinned_one_by_one(mask))


@settings(max_examples=60, deadline=None)
@given(masks(11))
def test_topology_stays_and_nothing_more_can_go(mask: Mask) -> None:
    lines = skeleton(mask)
    assert not (lines & ~mask).any()
    assert topology(lines) == topology(mask)
    np.testing.assert_array_equal(skeleton(lines), lines)


@settings(max_examples=30, deadline=None)
@given(masks(9), st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(0, 4)] * 3))
def test_shift_padding_and_memory_layout_change_nothing(mask: Mask, before: Any, after: Any) -> None:
    padding = list(zip(before, after, strict=True))
    expected = np.pad(skeleton(mask), padding)
    np.testing.assert_array_equal(skeleton(np.pad(mask, padding)), expected)
    np.testing.assert_array_equal(skeleton(np.asfortranarray(np.pad(mask, padding))), expected)


def test_a_tube_becomes_its_axis_and_a_ring_stays_closed() -> None:
    x, y, z = np.indices((9, 9, 30))
    lines = skeleton(((x - 4) ** 2 + (y - 4) ** 2 <= 10) & (z >= 3) & (z < 27))
    assert lines[4, 4, 6:24].all()
    assert not np.delete(np.delete(lines, 4, 0), 4, 1).any()
    x, y, z = np.indices((25, 25, 9))
    ring = skeleton((np.hypot(x - 12, y - 12) - 8) ** 2 + (z - 4) ** 2 <= 5)
    # One closed line: every voxel of it has two neighbours.
    assert parts(ring, ALL_26) == 1
    assert set(np.unique(ndimage.convolve(ring.astype(int), ALL_26.astype(int), mode="constant")[ring])) == {3}


def test_hollow_shapes_and_small_lumps() -> None:
    hollow = np.ones((7, 7, 7), bool)
    hollow[2:5, 2:5, 2:5] = False
    assert topology(skeleton(hollow))[:2] == (1, 1)
    assert not skeleton(np.zeros((3, 4, 5), bool)).any()
    corner = np.zeros((3, 3, 3), bool)
    corner[1, 1, 1] = corner[1, 1, 2] = corner[1, 2, 1] = True  # scikit-image 0.26 loses such lumps altogether
    assert skeleton(corner).sum() == 1


@settings(max_examples=150, deadline=None)
@given(masks(13).filter(lambda mask: mask.shape[0] > 1))  # one plane alone it thins from four sides
def test_agrees_with_scikit_image(mask: Mask) -> None:
    """Where scikit-image (released versions up to 0.26) keeps every part, it keeps the same voxels."""
    morphology = pytest.importorskip("skimage.morphology")
    theirs = morphology.skeletonize(mask, method="lee") > 0
    ours = skeleton(mask)
    labels, count = ndimage.label(mask, ALL_26)
    for part in range(1, count + 1):
        own = labels == part
        if (theirs & own).any():
            np.testing.assert_array_equal(ours & own, theirs & own)
