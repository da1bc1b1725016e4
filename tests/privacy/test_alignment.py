"""A real patch is laid on an image as it was turned and moved to make it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from angiosynth.privacy.alignment import SYMMETRIES, Candidates, Poses, align, rotate_and_shift, transformed, warp_onto

SIDE = 32


def _blobs(count: int, seed: int) -> Any:
    """(count, SIDE, SIDE) smooth random images in [-1, 1], no two alike."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(count, SIDE, SIDE)), (0, 2, 2))
    return torch.from_numpy(np.clip(smooth / smooth.std() / 3, -1, 1).astype(np.float32))


REAL = _blobs(6, 1)


def _candidates(symmetry: int) -> Candidates:
    """Of each of REAL two references: itself and the next one."""
    numbers = np.arange(len(REAL))
    rows = np.stack([(numbers + 1) % len(REAL), numbers], axis=1)
    return Candidates(np.zeros(rows.shape), rows, np.full(rows.shape, symmetry))


def test_a_square_can_lie_in_eight_ways() -> None:
    image = torch.arange(9.0).view(3, 3)
    assert len({tuple(one.flatten().tolist()) for one in (transformed(image, number) for number in SYMMETRIES)}) == 8
    assert torch.equal(transformed(image, 4), image.flip(-2))


@pytest.mark.parametrize("symmetry", range(8))
def test_a_symmetry_is_undone(symmetry: int) -> None:
    real = transformed(REAL, symmetry)  # as the image would lie
    poses = Poses.of_symmetry(np.full(len(REAL), symmetry))
    torch.testing.assert_close(warp_onto(real, torch.full_like(REAL, -1.0), poses), REAL, atol=1e-5, rtol=0)


def test_a_move_is_by_pixels_and_a_turn_about_the_middle() -> None:
    image = torch.zeros(1, SIDE, SIDE)
    image[0, 20, 10] = 1.0
    assert rotate_and_shift(image, 0.0, 2, -3)[0].argmax() == 22 * SIDE + 7
    # From the middle (15.5, 15.5) the point lies at (4.5, -5.5); a quarter turn takes that to one of two places.
    assert int(rotate_and_shift(image, 90.0, 0, 0)[0].argmax()) in {10 * SIDE + 11, 21 * SIDE + 20}
    assert rotate_and_shift(image, 5.0, 0, 0).sum() > 0.5


def test_where_nothing_comes_in_the_image_shows() -> None:
    onto = torch.full((1, SIDE, SIDE), 0.25)
    warped = warp_onto(torch.ones(1, SIDE, SIDE), onto, Poses(np.zeros(1, np.int64), np.zeros(1), np.array([[4 / SIDE, 0.0]])))
    assert (warped[0, :4] == 0.25).all()
    assert (warped[0, 5:] == 1.0).all()


@pytest.mark.parametrize(("degrees", "x", "y"), [(0.0, 0, 0), (0.0, 2, -1), (7.0, 0, 0), (-4.0, 1, 2), (3.0, 0.5, -1.5)])
@pytest.mark.parametrize("symmetry", [0, 3, 6])
def test_turn_and_move_are_recovered(degrees: float, x: float, y: float, symmetry: int) -> None:
    images = rotate_and_shift(REAL, degrees, x, y)
    matches = align(images, transformed(REAL, symmetry), _candidates(symmetry), "test")
    np.testing.assert_array_equal(matches.row, np.arange(len(REAL)))
    assert matches.distance.max() < 0.05
    assert np.abs(matches.poses.degrees - degrees).max() < 2.0
    assert np.abs(matches.poses.shift * SIDE - (x, y)).max() < 0.4


def test_the_same_pose_holds_for_larger_images() -> None:
    large = torch.nn.functional.interpolate(REAL[:, None], scale_factor=3, mode="bilinear")[:, 0]
    image = rotate_and_shift(large, 6.0, 3, 0)
    poses = Poses(np.zeros(len(REAL), np.int64), np.full(len(REAL), 6.0), np.tile([1 / SIDE, 0.0], (len(REAL), 1)))
    gap = (warp_onto(large, image, poses) - image)[:, 12:-12, 12:-12]
    assert float(gap.abs().max()) < 1e-4


def test_nothing_to_align_is_no_fault() -> None:
    none = Candidates(np.zeros((0, 1)), np.zeros((0, 1), np.int64), np.zeros((0, 1), np.int64))
    assert len(align(torch.zeros(0, SIDE, SIDE), REAL, none, "test").row) == 0


def test_distances_are_of_the_middle() -> None:
    real = torch.zeros(1, SIDE, SIDE)
    image = torch.zeros(1, SIDE, SIDE)
    image[0, 0] = 1.0  # a border
    candidate = Candidates(np.zeros((1, 1)), np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64))
    assert align(image, real, candidate, "test").distance[0] == 0.0
    image[0, 16, 16] = 1.0
    assert align(image, real, candidate, "test").distance[0] == pytest.approx(math.sqrt(1 / 24**2))
