"""Copies are found in features whichever way they lie."""

from __future__ import annotations

import numpy as np
import pytest

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.feature_copies import lay, search_in_features
from angiosynth.privacy.nearest import Points


def _describe(images: ImagePatches) -> Points:
    """The pixels themselves: each of the eight ways to lie is another point."""
    return images.reshape(len(images), -1).astype(np.float32)


RNG = np.random.default_rng(0)
TRAINING, OTHERS, NEW = (RNG.integers(0, 256, (count, 8, 8)).astype(np.uint8) for count in (40, 40, 20))


def test_the_eight_ways_to_lie_are_eight() -> None:
    assert len({lay(TRAINING[:1], pose).tobytes() for pose in range(8)}) == 8
    np.testing.assert_array_equal(lay(TRAINING, 0), TRAINING)
    np.testing.assert_array_equal(lay(TRAINING, 4), TRAINING[:, ::-1])


@pytest.mark.parametrize("pose", range(8))
def test_a_copy_is_found_as_it_lies(pose: int) -> None:
    rows = np.array([3, 17, 30])
    queries = np.concatenate([NEW, lay(TRAINING[rows], pose)])
    found = search_in_features(queries, _describe(queries), _describe(TRAINING), _describe(OTHERS), len(queries), _describe)
    assert found.ratios[20:].max() < 1e-6
    assert found.ratios[:20].min() > 0.5
    np.testing.assert_array_equal(found.row[20:], rows)
    for place, row in zip((20, 21, 22), rows, strict=True):
        np.testing.assert_array_equal(lay(queries[place][None], int(found.pose[place]))[0], TRAINING[row])


@pytest.mark.parametrize("pose", [0, 4])
def test_a_copy_that_lies_as_the_gan_saw_it_is_among_the_few_that_are_checked(pose: int) -> None:
    queries = np.concatenate([NEW, lay(TRAINING[:1], pose)])
    found = search_in_features(queries, _describe(queries), _describe(TRAINING), _describe(OTHERS), 1, _describe)
    assert found.checked.tolist() == [20]
