"""Coverage of voxels by tubes, against areas worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from angiosynth.phantom.tubes import FINER, Tubes, along, draw, join


def tube(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, signal: float = 1.0) -> Tubes:
    return along(np.array([start, end]), np.full(2, radius), np.full(2, signal))


def cover(tubes: Tubes, shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    drawn = draw(tubes, shape, np.diag([*spacing, 1.0]))
    volume = np.zeros(shape)
    volume.reshape(-1)[drawn.voxels] = drawn.fraction
    return volume


def test_straight_tube_covers_its_cross_section() -> None:
    # Radius 2.3 along z: each slice must hold pi r^2 = 16.62 voxels, whatever the tube's place in the grid.
    volume = cover(tube((7.3, 6.8, -5), (7.3, 6.8, 15), 2.3), (15, 15, 10))
    assert volume.sum(axis=(0, 1)) == pytest.approx(np.full(10, np.pi * 2.3**2), rel=0.02)


def test_each_voxel_has_the_share_that_brute_force_finds() -> None:
    volume = cover(tube((5.2, 4.9, -5), (5.2, 4.9, 8), 1.6), (11, 11, 3))
    fine = (np.arange(11 * 50) + 0.5) / 50 - 0.5
    inside = ((fine[:, None] - 5.2) ** 2 + (fine[None, :] - 4.9) ** 2 <= 1.6**2).reshape(11, 50, 11, 50).mean(axis=(1, 3))
    assert np.abs(volume[:, :, 1] - inside).max() < 0.08
    sure = np.abs(inside - 0.5) > 0.08
    np.testing.assert_array_equal((volume[:, :, 1] >= 0.5)[sure], (inside >= 0.5)[sure])


def test_uneven_spacing_and_taper_keep_the_volume() -> None:
    # A cone frustum of length 8 from radius 2 to 1, with half balls at its ends: pi h/3 (4+2+1) + 2 pi/3 (8+1).
    tapered = Tubes(np.array([[10.0, 10, 6]]), np.array([[10.0, 10, 14]]), np.array([2.0]), np.array([1.0]), np.ones(1))
    volume = cover(tapered, (25, 20, 40), (0.8, 1.0, 0.5))
    assert volume.sum() * 0.8 * 1.0 * 0.5 == pytest.approx(np.pi * 8 / 3 * 7 + 2 * np.pi / 3 * 9, rel=0.02)


def test_overlap_counts_once_and_the_first_signal_counts() -> None:
    both = join([tube((4, 4, -3), (4, 4, 9), 1.5, signal=2.0), tube((4, 4, -3), (4, 4, 9), 1.5, signal=7.0)])
    drawn = draw(both, (9, 9, 5), np.eye(4))
    assert drawn.fraction.max() == 1.0
    np.testing.assert_allclose(drawn.signal, 2.0)


def test_tube_beyond_the_volume_leaves_nothing_and_one_across_its_edge_only_the_part_inside() -> None:
    assert draw(tube((30, 30, 30), (40, 30, 30), 2.0), (9, 9, 9), np.eye(4)).voxels.size == 0
    volume = cover(tube((-0.5, 4, 4), (-0.5, 4, 4.001), 2.0), (9, 9, 9))
    assert volume.sum() == pytest.approx(2 / 3 * np.pi * 8, rel=0.04)  # half a ball
    assert volume[1:].max() <= 1.0
    assert np.count_nonzero(volume) > FINER


def test_moved_tubes_turn_then_shift() -> None:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = tube((1, 0, 0), (2, 0, 0), 0.5).moved(quarter, np.array([0, 0, 3.0]))
    np.testing.assert_allclose(moved.starts, [[0, 1, 3]])
    np.testing.assert_allclose(moved.ends, [[0, 2, 3]])
