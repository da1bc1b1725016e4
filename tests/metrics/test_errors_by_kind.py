"""Kinds of errors on masks small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from angiosynth.arrays import Mask
from angiosynth.errors import InputError
from angiosynth.metrics.errors_by_kind import FALSE_POSITIVES, KINDS, MISSES, errors_by_kind, vessel_calibre

NOTHING = dict.fromkeys(KINDS, 0)


def empty(shape: tuple[int, int, int] = (12, 9, 9)) -> Mask:
    return np.zeros(shape, np.bool_)


def vessels() -> Mask:
    """A bar of 5 x 3 x 3 voxels, and a line of 4 voxels away from it."""
    truth = empty()
    truth[1:6, 1:4, 1:4] = True
    truth[8, 2:6, 7] = True
    return truth


def test_calibres_of_a_bar_and_a_line() -> None:
    """The bar's core is its middle line without the two ends, 3 voxels; all its other 42 voxels touch that. The line is thin."""
    calibre = vessel_calibre(vessels())
    assert {name: int(mask.sum()) for name, mask in calibre.items()} == {"thin": 4, "thick_wall": 42, "thick_core": 3}
    assert calibre["thick_core"][2:5, 2, 2].all()


def test_a_vessel_two_voxels_wide_is_thin() -> None:
    truth = empty()
    truth[1:9, 2:4, 2:4] = True
    assert int(vessel_calibre(truth)["thin"].sum()) == 32


def test_a_vessel_at_the_volumes_side_has_no_core_there() -> None:
    truth = empty((5, 5, 5))
    truth[:, :3, :3] = True  # three voxels wide, the ends at the sides of the volume
    assert int(vessel_calibre(truth)["thick_core"].sum()) == 3


def test_a_perfect_mask_has_no_errors() -> None:
    assert errors_by_kind(vessels(), vessels(), empty(), empty()) == NOTHING


def test_misses_by_calibre() -> None:
    prediction = vessels()
    prediction[8, 2:4, 7] = False  # 2 thin
    prediction[3, 2, 2] = False  # 1 core
    prediction[1, 1:4, 1] = False  # 3 of the wall
    assert errors_by_kind(vessels(), prediction, empty(), empty()) == NOTHING | {"thin": 2, "thick_core": 1, "thick_wall": 3}


def test_false_voxels_by_what_lies_there() -> None:
    truth, prediction, veins, bright = vessels(), vessels(), empty(), empty()
    prediction[6, 4, 4] = True  # touches the bar's corner
    prediction[7:12, 8, 0] = True  # 5 voxels far from both
    veins[9:11, 8, 0] = True  # 2 of them vein
    bright[10:12, 8, 0] = True  # 2 bright, one of them vein as well
    assert errors_by_kind(truth, prediction, veins, bright) == NOTHING | {"veins": 2, "wall": 1, "bright_tissue": 1, "elsewhere": 2}


def test_a_vein_at_an_artery_is_a_vein_and_bright_tissue_at_a_wall_is_the_wall() -> None:
    prediction, veins, bright = vessels(), empty(), empty()
    prediction[6, 1:4, 1] = True
    veins[6, 1, 1], bright[6, 2, 1] = True, True
    veins[1, 1, 1] = True  # within the artery: no error
    assert errors_by_kind(vessels(), prediction, veins, bright) == NOTHING | {"veins": 1, "wall": 2}


masks = arrays.arrays(np.bool_, (5, 6, 4), elements=st.booleans())


@given(masks, masks, masks, masks)
def test_every_false_and_every_missed_voxel_counts_once(truth: Mask, prediction: Mask, veins: Mask, bright: Mask) -> None:
    counts = errors_by_kind(truth, prediction, veins, bright)
    assert sum(counts[kind] for kind in FALSE_POSITIVES) == int((prediction & ~truth).sum())
    assert sum(counts[kind] for kind in MISSES) == int((truth & ~prediction).sum())


@pytest.mark.parametrize(("place", "mask"), [(1, np.zeros((12, 9, 9), np.uint8)), (2, np.zeros((9, 9, 9), np.bool_))])
def test_other_masks_are_refused(place: int, mask: Mask) -> None:
    given_masks = [vessels(), vessels(), empty(), empty()]
    given_masks[place] = mask
    with pytest.raises(InputError, match="give booleans"):
        errors_by_kind(*given_masks)
