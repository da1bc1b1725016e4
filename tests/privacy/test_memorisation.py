"""Copies are found however they lie, and patches of the same kind are not taken for copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from angiosynth.privacy.memorisation import copy_statistics, nearer_to_training, search_copies

SIDE = 32


def _blobs(count: int, seed: int) -> Any:
    """Smooth random images, no two alike."""
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.clip(128 + 200 * smooth / smooth.std() / 3, 0, 255).astype(np.uint8)


TRAINING, OTHERS, NEW = _blobs(60, 1), _blobs(60, 2), _blobs(30, 3)


@pytest.mark.parametrize(
    "moved",
    [
        lambda image: image,
        lambda image: image[:, ::-1],
        lambda image: np.rot90(image, 1, (1, 2)),
        lambda image: np.roll(image, (2, -1), (1, 2)),
        lambda image: np.roll(image[:, ::-1], (-2, -2), (1, 2)),
        lambda image: ndimage.rotate(image, 9, (1, 2), reshape=False, order=1, mode="nearest"),
        lambda image: ndimage.rotate(image[:, ::-1], -4, (1, 2), reshape=False, order=1, mode="nearest"),
    ],
    ids=["same", "mirrored", "quarter turn", "moved", "mirrored and moved", "turned", "mirrored and turned"],
)
def test_a_moved_copy_is_found(moved: object) -> None:
    rows = np.arange(0, 60, 6)
    queries = np.concatenate([moved(TRAINING[rows]), NEW[:10]])  # type: ignore[operator]
    search = search_copies(np.ascontiguousarray(queries), TRAINING, OTHERS, len(queries), "test")
    assert (search.ratios[:10] < 0.5).mean() >= 0.9
    assert (search.near.row[:10] == rows).mean() >= 0.9
    assert search.ratios[10:].min() > 0.7


def test_only_the_suspicious_are_aligned() -> None:
    queries = np.concatenate([NEW, TRAINING[:3]])
    search = search_copies(queries, TRAINING, OTHERS, 5, "test")
    assert len(search.checked) == len(search.near.row) == 5
    assert set(search.checked) >= {30, 31, 32}
    statistics = copy_statistics(search.ratios, np.array([0.9, 1.1]), 0.5)
    assert (statistics["copies_count"], statistics["copies"], statistics["copies_held_out"]) == (3, 3 / 33, 0.0)


def test_nearer_to_training_is_a_half_by_chance() -> None:
    rng = np.random.default_rng(0)
    training, others = rng.random((400, 6)), rng.random((400, 3))
    plain = nearer_to_training(training, others, 50, 1)
    assert plain["nearer"] == pytest.approx(0.5, abs=0.08)  # three of the six against three, though six are nearer than three
    assert nearer_to_training(training - 1, others, 50, 1)["nearer"] == 1.0
    alone = nearer_to_training(training, others[:, :1], 20, 1)
    assert (alone["nearer_low"], alone["nearer_high"]) == (0.0, 1.0)
