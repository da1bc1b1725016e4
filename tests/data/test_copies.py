"""One scan under two names.

Neighbours tried: the same voxels stored in any of 48 orders, in another type; values rounded, scaled, shifted, denoised, under noise;
voxels cropped; and what must not be taken for a copy: heads of different people, real and drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from angiosynth.data.copies import NEAR_COPY, CopySearch, Twin, brain_fingerprint, correlation, order_free_digest
from angiosynth.data.nifti import read_volume
from tests.factories import Array, make_arrays

SHAPE = (60, 64, 40)
ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


@pytest.fixture(scope="module")
def head() -> Array:
    return make_arrays(SHAPE, 1)[0].astype(np.float32)


@settings(max_examples=48, deadline=None)
@given(order=st.sampled_from(ORDERS), kind=st.sampled_from([np.int16, np.float32, np.float64]))
def test_a_copy_in_any_order_and_type_is_one(order: tuple[tuple[int, ...], tuple[int, ...]], kind: type) -> None:
    scan = make_arrays((10, 12, 8), 1)[0]
    axes, signs = order
    search = CopySearch()
    assert search.scan("a", scan.astype(np.float32)) is None
    assert search.scan("b", scan.astype(kind).transpose(axes)[:: signs[0], :: signs[1], :: signs[2]]) == Twin("a")


def test_one_other_voxel_is_another_digest(head: Array) -> None:
    other = head.copy()
    other[3, 4, 5] += 1
    assert order_free_digest(other) != order_free_digest(head)
    exchanged = head.copy()
    exchanged[0, 0, 0], exchanged[1, 0, 0] = head[1, 0, 0], head[0, 0, 0]
    assert order_free_digest(exchanged) == order_free_digest(head)
    assert order_free_digest(np.array([[[0.0, 1.0]]])) == order_free_digest(np.array([[[1.0, -0.0]]]))


CHANGES: dict[str, Callable[[Array], Array]] = {
    "rounded": lambda scan: np.asarray(np.round(scan / 16) * 16),
    "other scaling": lambda scan: scan * 0.01 + 7,
    "denoised": lambda scan: np.asarray(ndimage.gaussian_filter(scan, 0.7)),
    "median": lambda scan: np.asarray(ndimage.median_filter(scan, 3)),
    "noise": lambda scan: scan + np.random.default_rng(0).normal(0, 15, scan.shape),
    "mirrored and rounded": lambda scan: np.asarray(np.round(scan[::-1] / 16)),
    "turned and scaled": lambda scan: scan.transpose(1, 0, 2)[:, ::-1] * 2,
    "clipped": lambda scan: np.minimum(scan, 700),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_processed_copy_is_near(head: Array, change: str) -> None:
    search = CopySearch()
    for seed in range(2, 6):
        assert search.scan(f"other {seed}", make_arrays(SHAPE, seed)[0].astype(np.float32)) is None
    search.scan("first", head)
    twin = search.scan("copy", CHANGES[change](head).astype(np.float32))
    assert twin is not None
    assert (twin.name, twin.near) == ("first", True)


@pytest.mark.long
def test_real_heads_are_distinguished_and_their_processed_copies_are_not(realdata: Path) -> None:
    if not (realdata / "icbm-tof").is_dir():
        pytest.skip("icbm-tof is not among the real volumes in ANGIOSYNTH_REALDATA")
    search = CopySearch()
    paths = sorted((realdata / "icbm-tof").glob("sub-*/anat/*_angio.nii.gz"))[:2]
    first, second = (read_volume(path).array for path in paths)
    assert search.scan("first", first) is None
    assert search.scan("second", second) is None
    for change in (lambda scan: ndimage.uniform_filter(scan, 3), lambda scan: scan[4:, 2:-3, 3:], lambda scan: np.sqrt(scan)):
        twin = search.scan("copy", np.asarray(change(first)))
        assert twin is not None
        assert twin.near


def test_a_real_brain_is_known_by_another_tools_mask(realdata: Path) -> None:
    if not (realdata / "icbm-tof").is_dir():
        pytest.skip("icbm-tof is not among the real volumes in ANGIOSYNTH_REALDATA")
    prints = []
    for path in sorted((realdata / "icbm-tof").glob("sub-*/anat/*_angio.nii.gz"))[:2]:
        scan = read_volume(path).array[::2, ::2, ::2]
        brain = read_volume(Path(str(path).replace("_angio", "_desc-brain_mask"))).array[::2, ::2, ::2] > 0.5
        prints.append([brain_fingerprint(scan, one) for one in (brain, ndimage.binary_erosion(brain), ndimage.binary_dilation(brain))])
    assert all(correlation(one, person[0]) >= NEAR_COPY for person in prints for one in person[1:])
    assert correlation(prints[0][0], prints[1][0]) < NEAR_COPY - 0.1


def _with_skull(scan: Array, brain: Array) -> tuple[Array, Array]:
    """The brain in a larger volume, with noise and a bright shell around it, as the scan was before its skull was stripped."""
    margins = ((18, 7), (9, 20), (4, 14))
    larger, mask = np.pad(scan, margins), np.pad(brain, margins)
    shell = ndimage.binary_dilation(mask, iterations=5) & ~ndimage.binary_dilation(mask, iterations=2)
    around = np.abs(np.random.default_rng(3).normal(0, 20, larger.shape)) + 600 * shell
    return np.asarray(np.where(mask, larger, around), np.float32), mask


@pytest.mark.parametrize("kept", [False, True], ids=["at once", "kept by another site"])
def test_a_stripped_and_cut_copy_is_found_by_its_brain(tmp_path: Path, kept: bool) -> None:
    """Neighbours: a mask with holes; no mask, by which the whole volumes are too different. Smaller and larger masks: the real heads."""
    scan, brain, _ = (np.asarray(one) for one in make_arrays(SHAPE, 1))
    brain = brain.astype(bool)
    larger, mask = _with_skull(scan.astype(np.float32), brain)
    search = CopySearch()
    for seed in (2, 3):
        other, its_brain, _ = make_arrays(SHAPE, seed)
        assert search.scan(f"other {seed}", other.astype(np.float32), its_brain.astype(bool)) is None
    search.scan("stripped", np.where(brain, scan, 0).astype(np.float32), brain)
    if kept:
        search.save(tmp_path / "site.npz")
        search = CopySearch(earlier=CopySearch.load(tmp_path / "site.npz").among(lambda name: name != "other 2"))
    assert CopySearch.joined([search]).scan("no mask", larger) is None
    for one in (mask, mask & (np.random.default_rng(4).random(mask.shape) > 0.02)):
        twin = search.scan("whole", larger, one)
        assert twin is not None
        assert (twin.near, twin.name) == (True, "stripped")
        search = CopySearch(earlier=search.earlier) if kept else search.among(lambda name: name != "whole")


def test_what_was_kept_before_there_were_prints_of_brains_is_read(tmp_path: Path) -> None:
    search = CopySearch()
    search.scan("a", make_arrays(SHAPE, 1)[0].astype(np.float32))
    search.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as saved:
        np.savez(tmp_path / "old.npz", **{name: saved[name] for name in saved.files if not name.startswith("brain")})
    assert CopySearch.load(tmp_path / "old.npz").scan("b", make_arrays(SHAPE, 1)[0].astype(np.float32)) == Twin("a")


def test_labels_are_compared_voxel_by_voxel() -> None:
    label = make_arrays(SHAPE, 1)[2].astype(bool)
    search = CopySearch()
    assert search.label("a", label) is None
    assert search.label("b", label.copy(order="F")) == Twin("a")
    label[0, 0, 0] ^= True
    assert search.label("c", label) is None


def test_zeros_around_a_scan_hide_no_copy(head: Array) -> None:
    """Padded, or cut where it is 0; the label with it, or cut to its own box."""
    search = CopySearch()
    search.scan("a", head)
    assert search.scan("b", np.pad(head, ((5, 0), (2, 3), (0, 9)))) == Twin("a")
    label = make_arrays(SHAPE, 1)[2].astype(bool)
    search.label("a", label)
    assert search.label("b", np.pad(label, 4)) == Twin("a")
    assert search.label("c", label[ndimage.find_objects(label.astype(int))[0]]) == Twin("a")


def test_labels_of_a_few_voxels_are_compared_in_place() -> None:
    search = CopySearch()
    one, other = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    one[2, 3, 4] = other[5, 6, 7] = True
    assert search.label("a", one) is None
    assert search.label("b", other) is None


def test_a_scan_met_twice_under_one_name_is_its_own_copy(head: Array) -> None:
    """As of two sites that are one folder."""
    search = CopySearch()
    assert search.scan("a", head) is None
    assert search.scan("a", head) == Twin("a")
