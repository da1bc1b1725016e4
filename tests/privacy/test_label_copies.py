"""Copied label maps are found however they lie and whatever the image, and pairs where image and label repeat one patch together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from angiosynth.arrays import LabelPatches
from angiosynth.privacy.label_copies import PairReferences, label_images, labels_of, search_pairs
from angiosynth.privacy.memorisation import PeoplesPatches, PixelSearch, References, search_copies

SIDE = 32


def _blobs(count: int, seed: int) -> Any:
    """Smooth random images (n, side, side), no two alike."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(count, SIDE, SIDE)), (0, 2, 2))
    return np.clip(128 + 200 * smooth / smooth.std() / 3, 0, 255).astype(np.uint8)


def _vessels(count: int, seed: int) -> LabelPatches:
    """Bent bands of random place, direction and width (n, side, side)."""
    rng = np.random.default_rng(seed)
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    x, y = np.meshgrid(grid, grid, indexing="ij")
    bands = []
    for _ in range(count):
        label = np.zeros((SIDE, SIDE), bool)
        for _ in range(2):
            angle, shift, bend, half = rng.uniform(0, np.pi), rng.uniform(-8, 8), rng.uniform(-0.04, 0.04), rng.uniform(1, 2.5)
            along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            label |= np.abs(across - shift - bend * along**2) <= half
        bands.append(label)
    return np.array(bands, np.uint8)


TRAINING, OTHERS, NEW = _vessels(60, 1), _vessels(60, 2), _vessels(20, 3)
IMAGES = References(PeoplesPatches(_blobs(60, 1), np.arange(60) // 15), PeoplesPatches(_blobs(60, 2), np.arange(60) // 20))
REFERENCES = PairReferences(IMAGES, labels_of(IMAGES, label_images(TRAINING), label_images(OTHERS)))
ROWS = np.arange(0, 60, 6)


def _turned(arrays: Any, degrees: float) -> Any:
    return ndimage.rotate(arrays, degrees, (1, 2), reshape=False, order=1, mode="nearest")


def _search(label: LabelPatches) -> PixelSearch:
    return search_copies(label_images(label), REFERENCES.labels, len(label), "test")


def test_maps_that_nearly_coincide_are_near_and_a_blank_one_stays_blank() -> None:
    line = np.zeros((3, SIDE, SIDE), np.uint8)
    line[0, :, 10] = line[1, :, 11] = 1
    first, second, blank = label_images(line).astype(float)
    assert np.square(first - second).sum() < 0.5 * (np.square(first).sum() + np.square(second).sum())
    assert blank.max() == 0.0


@pytest.mark.parametrize(
    "moved",
    [
        lambda label: label,
        lambda label: label[:, ::-1],
        lambda label: np.rot90(label, 3, (1, 2)),
        lambda label: np.roll(label, (2, -1), (1, 2)),
        lambda label: (_turned(label[:, ::-1] * 255.0, 8.0) > 127).astype(np.uint8),
    ],
    ids=["same", "mirrored", "quarter turn", "moved", "mirrored and turned"],
)
def test_a_copied_label_is_found_however_it_lies(moved: Any) -> None:
    search = _search(np.concatenate([np.ascontiguousarray(moved(TRAINING[ROWS])), NEW]))
    assert (search.ratios[:10] < 0.4).mean() >= 0.9
    assert (search.training.person[:10] == ROWS // 15).mean() >= 0.9
    assert (search.ratios[10:] < 0.4).mean() <= 0.05
    assert (search.others.ratio < 0.4).mean() <= 0.05


def test_labels_without_a_vessel_are_nobodys() -> None:
    """Also where both sides have such labels: they are at distance 0 from everybody, and take no place of those that are checked."""
    blank = np.zeros((5, SIDE, SIDE), np.uint8)
    training, others = (np.concatenate([label[:55], blank]) for label in (TRAINING, OTHERS))
    references = labels_of(IMAGES, label_images(training), label_images(others))
    search = search_copies(label_images(np.concatenate([blank, TRAINING[:2]])), references, 2, "test")
    assert search.ratios[:5].tolist() == [1.0] * 5
    assert search.training.apart[:5].max() == 0.0
    assert set(search.checked) >= {5, 6}


def _pairs(image: Any, label: LabelPatches, checked: int | None = None) -> Any:
    images = np.ascontiguousarray(image)
    count = len(images) if checked is None else checked
    by_image = search_copies(images, IMAGES, count, "test")
    by_label = search_copies(label_images(label), REFERENCES.labels, count, "test")
    return search_pairs(images, label_images(label), REFERENCES, by_image, by_label)


def test_a_pair_counts_where_image_and_label_repeat_one_patch_together() -> None:
    image, label = IMAGES.training.images[ROWS], TRAINING[ROWS]
    both = _pairs(image[:, ::-1], np.ascontiguousarray(label[:, ::-1]))
    assert both.ratios.max() < 0.05
    np.testing.assert_array_equal(both.training.person, ROWS // 15)
    np.testing.assert_array_equal(both.near.row, ROWS)
    assert both.training.apart.shape == (10, 2)
    # The image of one patch with the label of another, or of nobody, is no copy of the pair.
    assert _pairs(image, np.roll(label, 1, axis=0)).ratios.min() > 0.4
    assert _pairs(_blobs(10, 9), NEW[:10]).ratios.min() > 0.6


def test_pairs_of_others_are_suspected_too_and_those_not_looked_at_of_nothing() -> None:
    image, label = IMAGES.others.images[[5, 25, 45]], OTHERS[[5, 25, 45]]
    both = _pairs(image, label)
    np.testing.assert_array_equal(both.others.person, [0, 1, 2])
    assert both.others.ratio.max() < 0.05
    assert both.ratios.min() > 1
    some = _pairs(np.concatenate([image, _blobs(10, 9)]), np.concatenate([label, NEW[:10]]), 1)
    unseen = np.setdiff1d(np.arange(13), some.checked)
    assert len(unseen)
    assert np.isinf(some.ratios[unseen]).all()
