"""Copies are found however they lie, and patches of the same kind are not taken for copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from angiosynth.privacy.memorisation import PeoplesPatches, References, search_copies

SIDE = 32


def _blobs(count: int, seed: int) -> Any:
    """Smooth random images, no two alike."""
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.clip(128 + 200 * smooth / smooth.std() / 3, 0, 255).astype(np.uint8)


TRAINING, OTHERS, NEW = _blobs(60, 1), _blobs(60, 2), _blobs(30, 3)
REFERENCES = References(PeoplesPatches(TRAINING, np.arange(60) // 15), PeoplesPatches(OTHERS, np.arange(60) // 20))  # 4 and 3 people


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
    search = search_copies(np.ascontiguousarray(queries), REFERENCES, len(queries), "test")
    assert (search.ratios[:10] < 0.5).mean() >= 0.9
    assert (search.near.row[:10] == rows).mean() >= 0.9
    assert search.ratios[10:].min() > 0.7
    assert (search.training.person[:10] == rows // 15).mean() >= 0.9
    assert search.others.ratio.min() > 0.7


def test_only_the_suspicious_are_aligned_on_either_side_as_many_a_person() -> None:
    queries = np.concatenate([NEW, TRAINING[:3], OTHERS[40:42]])
    search = search_copies(queries, REFERENCES, 4, "test")
    assert set(search.checked) >= {30, 31, 32, 33, 34}
    assert 5 <= len(search.checked) == len(search.near.row) == len(search.far.row) <= 4 + 3


def test_a_person_who_was_not_trained_on_is_suspected_without_being_compared_with() -> None:
    search = search_copies(np.concatenate([OTHERS[25:28], TRAINING[:2]]), REFERENCES, 5, "test")
    assert search.others.person[:3].tolist() == [1, 1, 1]
    assert search.others.ratio[:3].max() < 0.1  # near to one of them and far from the other two
    assert search.ratios[:3].min() > 10  # no training patient's copy: exactly the patch of another
    assert search.others.ratio[3:].min() > 0.7


def test_a_persons_own_patches_are_left_out() -> None:
    rows = np.array([3, 25, 45])
    search = search_copies(OTHERS[rows], REFERENCES, 3, "test", excluded=rows // 20)
    assert search.ratios.min() > 0.7
    assert (search.others.person != rows // 20).all()
    assert search.training.apart.min() > 0.05


def test_with_two_people_the_other_one_alone_remains() -> None:
    two = References(REFERENCES.training, PeoplesPatches(OTHERS[:40], np.arange(40) // 20))
    search = search_copies(np.concatenate([OTHERS[3:4], TRAINING[:1]]), two, 2, "test", excluded=np.array([0, 0]))
    assert search.others.person.tolist() == [1, 1]
    assert search.ratios[0] > 0.7
    assert search.ratios[1] < 0.1
