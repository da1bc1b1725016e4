"""Copies are found in features whichever way they lie, and turned or moved a little as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.alignment import rotate_and_shift
from angiosynth.privacy.feature_copies import Described, DescribedPeople, search_in_features, warped_levels, with_smoothed
from angiosynth.privacy.memorisation import CopySearch, PeoplesPatches, References, search_copies
from angiosynth.privacy.nearest import Points

SIDE = 32


def _describe(images: ImagePatches) -> Points:
    """The pixels of the middle: each of the eight ways to lie, and each turn or move, is another point."""
    return images[:, 4:-4, 4:-4].reshape(len(images), -1).astype(np.float32)


def _blobs(count: int, seed: int) -> Any:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(count, SIDE, SIDE)), (0, 1.5, 1.5))
    return np.clip(128 + 200 * smooth / smooth.std() / 3, 0, 255).astype(np.uint8)


TRAINING, OTHERS, NEW = _blobs(40, 1), _blobs(40, 2), _blobs(20, 3)
ROWS = np.array([3, 17, 30])


def _laid(pose: int) -> ImagePatches:
    """Three training patches in one of the eight ways."""
    images = TRAINING[ROWS][:, ::-1] if pose >= 4 else TRAINING[ROWS]
    return np.ascontiguousarray(np.rot90(images, pose % 4, (1, 2)))


PERSON = np.arange(40) // 10


def _search(queries: ImagePatches, checked: int, in_pixels: int, excluded: Any = None) -> CopySearch:
    training, others = (with_smoothed(images, _describe(images), _describe) for images in (TRAINING, OTHERS))
    references = References(PeoplesPatches(TRAINING, PERSON), PeoplesPatches(OTHERS, PERSON))
    pixels = search_copies(queries, references, in_pixels, "test", excluded)
    people = DescribedPeople(training, PERSON, others, PERSON)
    return search_in_features(Described(queries, _describe(queries)), people, checked, _describe, pixels, excluded)


@pytest.mark.parametrize("pose", range(8))
def test_a_copy_is_found_as_it_lies(pose: int) -> None:
    queries = np.concatenate([NEW, _laid(pose)])
    search = _search(queries, len(queries), 1)
    assert search.ratios[20:].max() < 0.02
    assert search.ratios[:20].min() > 0.5
    copies = np.searchsorted(search.checked, [20, 21, 22])
    np.testing.assert_array_equal(search.near.row[copies], ROWS)
    np.testing.assert_array_equal(search.training.person[20:], PERSON[ROWS])
    warped = warped_levels(TRAINING, queries[20:], search.near.select(copies))
    assert np.abs(warped.astype(int) - queries[20:]).max() <= 1


@pytest.mark.parametrize("pose", [0, 4])
def test_a_copy_that_lies_as_the_gan_saw_it_is_among_the_few_that_are_checked(pose: int) -> None:
    assert 20 in _search(np.concatenate([NEW, _laid(pose)[:1]]), 1, 1).checked


@pytest.mark.parametrize(("degrees", "x", "y"), [(9.0, 0, 0), (-5.0, 0, 0), (0.0, 2, -2), (4.0, 1, 1)])
def test_a_turned_or_moved_copy_is_found_by_the_pose_from_pixels(degrees: float, x: int, y: int) -> None:
    turned = rotate_and_shift(torch.from_numpy(_laid(4).astype(np.float32)), degrees, x, y).round().to(torch.uint8).numpy()
    queries = np.concatenate([NEW, turned])
    assert _search(queries, len(queries), 1).ratios[20:].max() > 0.3  # symmetries alone do not find them: one or two were aligned
    search = _search(queries, len(queries), len(queries))
    assert search.ratios[20:].max() < 0.25
    assert search.ratios[:20].min() > 0.5
    np.testing.assert_array_equal(search.near.row[-3:], ROWS)


def test_no_pose_makes_a_match_worse() -> None:
    queries = np.concatenate([NEW, _laid(0)])
    few, all_ = _search(queries, 1, 1), _search(queries, len(queries), len(queries))
    shown = np.isin(all_.checked, few.checked)
    assert (all_.near.distance[shown] <= few.near.distance + 1e-9).all()


def test_others_are_suspected_too_each_without_being_compared_with() -> None:
    rows = np.array([5, 25])
    search = _search(OTHERS[rows], 2, 2)
    np.testing.assert_array_equal(search.others.person, PERSON[rows])
    assert search.others.ratio.max() < 0.02
    left_out = _search(OTHERS[rows], 2, 2, PERSON[rows])
    assert left_out.ratios.min() > 0.5
    assert (left_out.others.person != PERSON[rows]).all()
    assert left_out.training.apart.shape == (2, 2)  # in features, and in pixels


def test_a_smooth_patch_is_held_against_smooth_ones_of_both_sides() -> None:
    smooth = ndimage.convolve1d(TRAINING[:5].astype(np.float32), (0.125, 0.75, 0.125), axis=1, mode="nearest")
    queries = ndimage.convolve1d(smooth, (0.125, 0.75, 0.125), axis=2, mode="nearest").round().astype(np.uint8)
    reference = with_smoothed(TRAINING, _describe(TRAINING), _describe)
    assert reference.features.shape == (2 * len(TRAINING), 24 * 24)
    np.testing.assert_array_equal(reference.features[40:45], _describe(queries))
    match = _search(queries, len(queries), 1)
    assert match.near.distance.max() == 0.0
    np.testing.assert_array_equal(match.near.row, np.arange(5))
