"""From a label file's values to a mask.

Neighbours tried: lists, ranges and both, spaces, typographic dashes, negative classes; what is no list; labels of 2 to 200 classes; images
of 8 and 16 bit, stripped or not, probabilities, and labels of more classes than any atlas has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.data.values import value_runs
from angiosynth.errors import InputError
from angiosynth.importing.classes import ClassRanges, one_mask, parse_classes
from tests.factories import Array, make_arrays

LABEL = Path("label.nii")


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", ()),
        (" ", ()),
        ("all", None),
        ("ALL", None),
        ("1,2", ((1, 1), (2, 2))),
        ("1-13", ((1, 13),)),
        ("1-13, 20", ((1, 13), (20, 20))),
        ("1 - 3,7\u20139", ((1, 3), (7, 9))),
        ("-2", ((-2, -2),)),
        ("1-999999999", ((1, 999999999),)),
    ],
)
def test_lists_and_ranges_are_read(text: str, ranges: ClassRanges) -> None:
    assert parse_classes(text) == ranges


@pytest.mark.parametrize("text", ["one", "1;2", "1,,2", "1-", "-", "1.5", "13-1", "0", "0-3", "-1-1", "1" * 5000, "1,all"])
def test_what_is_no_list_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="--vessel-values") as caught:
        parse_classes(text)
    assert "\n" not in str(caught.value)


@given(st.sets(st.integers(1, 40), min_size=1), st.sets(st.integers(1, 40), min_size=1))
def test_a_range_takes_what_its_classes_one_by_one_would(classes: set[int], chosen: set[int]) -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values.flat[: len(classes)] = sorted(classes)
    ranges = parse_classes(",".join(map(str, sorted(chosen))))
    if not classes & chosen:
        with pytest.raises(InputError, match="has none of the classes"):
            one_mask(values, LABEL, "vessels", ranges, [])
        return
    notes: list[str] = []
    np.testing.assert_array_equal(one_mask(values, LABEL, "vessels", ranges, notes), np.isin(values, list(chosen)))
    assert bool(notes) == bool(classes - chosen)


def _labelled(count: int) -> Array:
    """Blocks of classes 1 to `count`, and a background."""
    blocks = np.repeat(np.arange(1, count + 1, dtype=np.float32), 27).reshape(count, 3, 9).repeat(2, axis=1)
    return np.concatenate([np.zeros_like(blocks[:1]), blocks])


def test_a_fault_names_all_classes() -> None:
    with pytest.raises(InputError, match=r"has 13 classes, 1-13; say which are vessels, --vessel-values 1 or all"):
        one_mask(_labelled(13), LABEL, "vessels", (), [])
    odd = _labelled(60) * 2 - 1
    with pytest.raises(InputError, match=", ".join(str(value) for value in range(1, 120, 2))):
        one_mask(odd, LABEL, "vessels", (), [])


@pytest.mark.parametrize("count", [2, 13, 100, 200])
def test_an_atlas_is_a_mask(count: int) -> None:
    for kind, classes in (("brain", ()), ("vessels", None)):
        np.testing.assert_array_equal(one_mask(_labelled(count), LABEL, kind, classes, []), _labelled(count) > 0)


def _image(kind: str) -> Array:
    scan, brain, _ = make_arrays((40, 44, 20), 1)
    images: dict[str, Array] = {
        "16 bit": scan,
        "16 bit, stripped": scan * brain,
        "8 bit, stripped": (scan * brain / 4).astype(np.uint8),
        "a class for each voxel": np.arange(scan.size).reshape(scan.shape),
        "201 classes": _labelled(201),
    }
    return images[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["16 bit", "16 bit, stripped", "8 bit, stripped", "a class for each voxel", "201 classes"])
@pytest.mark.parametrize("role", ["brain", "vessels"])
def test_an_image_is_no_mask(kind: str, role: str) -> None:
    for classes in ((), None, ((1, 1),)):
        with pytest.raises(InputError, match="is no mask, it has"):
            one_mask(_image(kind), LABEL, role, classes, [])


def test_a_brain_mask_needs_a_background_and_a_size() -> None:
    with pytest.raises(InputError, match="has 2 classes and no 0"):
        one_mask(_labelled(2)[1:], LABEL, "brain", (), [])
    tiny = np.zeros((20, 20, 20), np.float32)
    tiny[3, 4, 5] = 1
    with pytest.raises(InputError, match=r"covers 0\.01% of the volume, which is no brain"):
        one_mask(tiny, LABEL, "brain", (), [])
    assert one_mask(tiny, LABEL, "vessels", (), []).sum() == 1


def test_a_scan_of_few_grey_values_is_no_brain_mask() -> None:
    scan, brain, _ = make_arrays((40, 44, 20), 1)
    with pytest.raises(InputError, match="is no mask"):
        one_mask((scan * brain // 50).astype(np.float32), LABEL, "brain", (), [])


def test_probabilities_and_empty_files_are_no_masks() -> None:
    with pytest.raises(InputError, match=r"values between whole numbers, up to 0\.9"):
        one_mask(np.full((3, 3, 3), 0.9, np.float32), LABEL, "brain", None, [])
    with pytest.raises(InputError, match="is empty"):
        one_mask(np.zeros((3, 3, 3), np.float32), LABEL, "brain", None, [])


@pytest.mark.parametrize(
    ("values", "text"), [([1], "1"), ([1, 2], "1, 2"), ([1, 2, 3], "1-3"), ([0, 1, 2, 5, 7.5], "0-2, 5, 7.5"), ([-3, -2, -1], "-3--1")]
)
def test_runs_of_values(values: list[float], text: str) -> None:
    assert value_runs(np.array(values)) == text


def test_too_many_runs_are_reported_by_number_and_range() -> None:
    assert value_runs(np.arange(0, 1000, 2)) == "500 values from 0 to 998"
