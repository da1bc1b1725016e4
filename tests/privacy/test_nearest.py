"""Nearest neighbours against counting all distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from angiosynth import arrays
from angiosynth.privacy.nearest import as_points, nearest, nearest_of_each


def _all(first: Any, second: Any) -> Any:
    return np.sqrt(((first[:, None].astype(np.float64) - second) ** 2).mean(axis=2))


@pytest.mark.parametrize("rows", [4, arrays.CHUNK])
def test_all_distances_agree(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK", rows)
    rng = np.random.default_rng(0)
    queries, references = (rng.normal(5, 1, (n, 6)).astype(np.float32) for n in (11, 17))
    distance, row = nearest(queries, references, 5)
    full = _all(queries, references)
    np.testing.assert_allclose(distance, np.sort(full, axis=1)[:, :5], rtol=1e-5)
    np.testing.assert_array_equal(row, np.argsort(full, axis=1)[:, :5])


def test_a_copy_has_no_distance_however_far_from_zero() -> None:
    references = (np.random.default_rng(0).normal(0, 1e-3, (50, 40)) + 100).astype(np.float32)
    distance, row = nearest(references[7:9], references)
    assert distance.max() == 0.0
    assert row[:, 0].tolist() == [7, 8]


def test_each_group_has_its_nearest() -> None:
    queries, references = np.zeros((1, 1), np.float32), np.array([[3], [1], [-2], [9]], np.float32)
    assert nearest_of_each(queries, references, np.array([0, 0, 1, 1])).tolist() == [[1.0, 2.0]]


def test_large_images_are_averaged() -> None:
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, :2, :2] = 255
    points = as_points(image)
    assert points.shape == (1, 32 * 32)
    assert (points[0, 0], points[0, 1]) == (1.0, -1.0)


def test_more_neighbours_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="3 neighbours asked of 2"):
        nearest(np.zeros((1, 2), np.float32), np.zeros((2, 2), np.float32), 3)
