"""Patch sets: where centres lie, what is cut, how little memory it takes, what is refused."""

from __future__ import annotations

import csv
import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.data.patch_centres import bright_lookalikes, cut_square, draw_centres, draw_unlabelled_centres
from angiosynth.data.patches import build_patches, open_patch_set
from angiosynth.errors import InputError
from angiosynth.settings import IntensitySettings, PatchSettings
from tests.data.conftest import NAMES, PATCHES, SHAPE
from tests.factories import make_arrays, make_cohort, write_nifti


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _scan(label: np.ndarray[Any, Any], brain: np.ndarray[Any, Any]) -> Scan:
    return Scan("sub-1", np.zeros(label.shape, np.float32), brain, label, (1.0, 1.0, 1.0), Path("sub-1_angio.nii.gz"))


def test_every_patch_is_the_window_that_its_row_names(cohort: Path, built: Path) -> None:
    pairs = open_patch_set(built)
    rows = _rows(built)
    assert len(pairs) == len(rows) == 150
    scans = {patient.id: load_scan(patient, IntensitySettings()) for patient in find_patients(cohort)}
    image, label = pairs.pairs(np.arange(150))
    for index, row in enumerate(rows):
        scan = scans[row["patient"]]
        assert scan.label is not None
        x, y, z = int(row["x"]), int(row["y"]), int(row["slice"])
        around = ((8, 8), (8, 8))  # beyond the slice is air
        window = (slice(x, x + 16), slice(y, y + 16))
        expected = np.pad(scan.image[:, :, z], around, constant_values=-1)[window]
        np.testing.assert_allclose(image[index], expected, atol=1 / 254)  # half a grey level
        np.testing.assert_array_equal(label[index], np.pad(scan.label[:, :, z], around)[window])
        assert scan.label[x, y, z] if row["kind"] == "vessel" else scan.brain[x, y, z]
    assert len({(row["patient"], row["x"], row["y"], row["slice"]) for row in rows}) == 150
    assert [row["kind"] for row in rows[:50]] == ["vessel"] * 30 + ["brain"] * 20


def test_description_tells_size_rule_number_and_vessel_fraction(built: Path) -> None:
    meta = json.loads((built / "set.json").read_text())
    label = np.load(built / "label.npy", allow_pickle=False)
    assert meta == {
        "size": 16,
        "n": 150,
        "intensity": {"rule": "volume", "low": 0.5, "high": 99.9},
        "vessel_fraction": pytest.approx(label.mean()),
    }
    assert set(np.unique(label)) == {0, 1}
    assert sorted(path.name for path in built.iterdir()) == ["image.npy", "index.csv", "label.npy", "set.json"]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 9),
    lengths=st.tuples(st.integers(9, 14), st.integers(9, 14), st.integers(1, 4)),
    wanted=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    density=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_centres_are_unique_and_as_many_as_there_can_be(
    size: int, lengths: tuple[int, int, int], wanted: tuple[int, int], density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    brain = rng.random(lengths) < 0.8
    label = brain & (rng.random(lengths) < density)
    plan = PatchSettings(size=size, on_vessels=wanted[0], on_bright=0, in_brain=wanted[1], seed=seed)
    centres, kinds = draw_centres(_scan(label, brain), plan)
    assert len(np.unique(centres, axis=0)) == len(centres) == len(kinds)
    vessels = min(wanted[0], int(label.sum()))
    assert kinds == ["vessel"] * vessels + ["brain"] * min(wanted[1], int(brain.sum()) - vessels)
    assert label[tuple(centres[:vessels].T)].all()
    assert brain[tuple(centres.T)].all()


def test_bright_centres_are_the_brightest_brain_apart_from_the_label() -> None:
    image = np.random.default_rng(5).uniform(-1, 0, (30, 30, 4)).astype(np.float32)
    brain = np.zeros(image.shape, bool)
    brain[2:28, 2:28] = True
    label = np.zeros_like(brain)
    label[10, 10:14, 2] = True
    image[8:13, 8:16, 2] = 0.9  # around the label: its partial volume, not to be taken
    image[20:24, 20:24, 1] = 0.5  # a vein of 16 voxels
    image[0, 0] = 1.0  # outside the brain
    scan = Scan("sub-1", image, brain, label, (1.0, 1.0, 1.0), Path("sub-1_angio.nii.gz"))
    apart = brain.copy()
    for x, y, z in np.argwhere(label):  # at most two steps along the axes, written out
        for dx, dy, dz in itertools.product(range(-2, 3), repeat=3):
            if abs(dx) + abs(dy) + abs(dz) <= 2 and 0 <= z + dz < 4:
                apart[x + dx, y + dy, z + dz] = False
    cut = np.quantile(image[apart], 0.99)
    np.testing.assert_array_equal(bright_lookalikes(scan), apart & (image >= cut))
    assert bright_lookalikes(scan)[20:24, 20:24, 1].all()
    centres, kinds = draw_centres(scan, PatchSettings(size=4, on_vessels=2, on_bright=9, in_brain=3, seed=1))
    assert kinds == ["vessel"] * 2 + ["bright"] * 9 + ["brain"] * 3
    assert bright_lookalikes(scan)[tuple(centres[2:11].T)].all()
    assert len(np.unique(centres, axis=0)) == 14


def test_without_a_label_the_brightest_voxels_take_the_place_of_vessels() -> None:
    rng = np.random.default_rng(3)
    image, brain = rng.normal(size=(40, 40, 5)).astype(np.float32), np.zeros((40, 40, 5), np.bool_)
    brain[5:35, 5:35] = True
    image[0, 0] = 99.0  # brightest of all, but outside the brain
    scan = Scan("sub-1", image, brain, None, (1.0, 1.0, 1.0), Path("sub-1_angio.nii.gz"))
    centres, kinds = draw_unlabelled_centres(scan, PatchSettings(size=4, on_vessels=20, on_bright=10, in_brain=7, seed=1))
    assert kinds == ["bright"] * 30 + ["brain"] * 7
    assert len(np.unique(centres, axis=0)) == 37
    values = image[tuple(centres.T)]
    assert values[:30].min() >= np.quantile(image[brain], 0.99)
    assert brain[tuple(centres.T)].all()


def test_a_brain_that_is_all_vessel_has_no_lookalikes(capsys: pytest.CaptureFixture[str]) -> None:
    brain = np.ones((6, 6, 2), bool)
    _, kinds = draw_centres(_scan(brain, brain), PatchSettings(size=4, on_vessels=1, on_bright=2, in_brain=1, seed=1))
    assert kinds == ["vessel", "brain"]
    assert "0 patches on bright voxels instead of 2" in capsys.readouterr().err


@given(x=st.integers(0, 6), y=st.integers(0, 4), size=st.integers(1, 9))
def test_a_square_is_a_window_of_the_padded_slice(x: int, y: int, size: int) -> None:
    plane = np.arange(1, 36).reshape(7, 5)
    padded = np.pad(plane, 9, constant_values=-1)
    left, front = x - size // 2 + 9, y - size // 2 + 9
    square = cut_square(plane, x, y, size, outside=-1)
    np.testing.assert_array_equal(square, padded[left : left + size, front : front + size])
    assert square[size // 2, size // 2] == plane[x, y]


def test_centres_are_spread_evenly_over_the_candidates() -> None:
    brain = np.ones((12, 12, 3), bool)
    label = np.zeros_like(brain)
    label[4:8, 4:8] = True  # 48 candidates
    counts = np.zeros(label.shape)
    for seed in range(400):
        centres, _ = draw_centres(_scan(label, brain), PatchSettings(size=4, on_vessels=12, on_bright=0, in_brain=0, seed=seed))
        counts[tuple(centres.T)] += 1
    # Each is drawn with probability 1/4: 100 times of 400, deviation 8.7; 5 deviations are allowed.
    assert counts[label].min() > 56
    assert counts[label].max() < 144
    assert counts[~label].sum() == 0


def test_a_patients_patches_depend_on_seed_and_name_alone(cohort: Path, built: Path, tmp_path: Path) -> None:
    build_patches(cohort, ["sub-03", "sub-02"], PATCHES, IntensitySettings(), tmp_path / "two")
    build_patches(cohort, NAMES, PATCHES, IntensitySettings(), tmp_path / "again")
    build_patches(cohort, NAMES, PATCHES.model_copy(update={"seed": 4}), IntensitySettings(), tmp_path / "other")
    whole = _rows(built)
    assert _rows(tmp_path / "two") == [row for row in whole if row["patient"] != "sub-01"]
    for path in sorted(built.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert _rows(tmp_path / "other") != whole


def test_rule_patch_stretches_every_patch(cohort: Path, tmp_path: Path) -> None:
    build_patches(cohort, NAMES[:1], PATCHES, IntensitySettings(rule="patch"), tmp_path / "set")
    image = np.load(tmp_path / "set/image.npy", allow_pickle=False)
    assert (image.min(axis=(1, 2)) == 0).all()
    assert (image.max(axis=(1, 2)) == 255).all()


def test_fewer_candidates_give_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, brain, _ = make_arrays(SHAPE, 1)
    label = np.zeros_like(brain)
    label[20, 20:25, 3] = 1
    write_nifti(tmp_path / "lab/sub-1/anat/sub-1_angio.nii.gz", scan)
    write_nifti(tmp_path / "lab/sub-1/anat/sub-1_desc-brain_mask.nii.gz", brain)
    write_nifti(tmp_path / "lab/sub-1/anat/sub-1_desc-vessel_mask.nii.gz", label)
    build_patches(tmp_path / "lab", ["sub-1"], PATCHES, IntensitySettings(), tmp_path / "set")
    assert "5 patches on vessel voxels instead of 30" in capsys.readouterr().err
    pairs = open_patch_set(tmp_path / "set")
    assert len(pairs) == 25
    assert pairs.meta["n"] == 25
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["image.npy", "index.csv", "label.npy", "set.json"]
    assert [row["y"] for row in _rows(tmp_path / "set")[:5]] == ["20", "21", "22", "23", "24"]


def test_building_does_not_take_more_memory_for_more_patients(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "lab", 6, (96, 96, 24))
    names = [f"sub-{index:02d}" for index in range(1, 7)]
    plan = PatchSettings(size=32, on_vessels=50, on_bright=0, in_brain=50)
    build_patches(folder, names[:1], plan, IntensitySettings(), tmp_path / "warm")
    peaks = []
    for count in (1, 6):
        tracemalloc.start()
        build_patches(folder, names[:count], plan, IntensitySettings(), tmp_path / f"set{count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    voxels = 96 * 96 * 24
    assert peaks[1] < peaks[0] + voxels  # not even one mask of another patient stays
    # 41 patients of 512 x 512 x 150 in less than 4 GB: 100 bytes a voxel; a float64 copy beside the rest would show.
    assert peaks[1] < 30 * voxels


def test_a_set_without_patients_can_be_built_and_opened(tmp_path: Path) -> None:
    build_patches(tmp_path / "nowhere", [], PATCHES, IntensitySettings(), tmp_path / "set")
    pairs = open_patch_set(tmp_path / "set")
    assert len(pairs) == 0
    assert pairs.meta["vessel_fraction"] == 0
    with pytest.raises(InputError, match="no patches"):
        pairs.mean_deviation()


@pytest.mark.parametrize(
    ("names", "size", "message"),
    [(["sub-09"], 16, "no patient sub-09"), (["../x"], 16, "no patient"), (["sub-01"], 41, "smaller than a patch of 41")],
)
def test_unusable_orders_are_refused_and_nothing_is_left(cohort: Path, tmp_path: Path, names: list[str], size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_patches(cohort, names, PATCHES.model_copy(update={"size": size}), IntensitySettings(), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_predicted_mask_takes_the_place_of_a_missing_label(tmp_path: Path) -> None:
    """The same patches as by the label where the mask equals it; without a vessel in it those in the brain are left."""
    labelled, bare = make_cohort(tmp_path / "lab", 1), make_cohort(tmp_path / "bare", 1, labelled=False)
    (patient,) = find_patients(labelled)
    assert patient.label is not None
    build_patches(labelled, ["sub-01"], PATCHES, IntensitySettings(), tmp_path / "by-label")
    build_patches(bare, ["sub-01"], PATCHES, IntensitySettings(), tmp_path / "predicted", {"sub-01": patient.label})
    by_label, predicted = (open_patch_set(tmp_path / name) for name in ("by-label", "predicted"))
    np.testing.assert_array_equal(by_label.image, predicted.image)
    empty = np.zeros(read_volume(patient.image).array.shape, np.uint8)
    write_nifti(tmp_path / "empty.nii.gz", empty)
    build_patches(bare, ["sub-01"], PATCHES, IntensitySettings(), tmp_path / "none", {"sub-01": tmp_path / "empty.nii.gz"})
    assert 0 < len(open_patch_set(tmp_path / "none")) < len(predicted)


def test_where_nobody_needs_a_label_nobodys_is_looked_at(tmp_path: Path) -> None:
    labelled, bare = make_cohort(tmp_path / "lab", 2), make_cohort(tmp_path / "bare", 2, labelled=False)
    patient = find_patients(labelled)[1]
    assert patient.label is not None
    patient.label.write_bytes(b"no image")  # opening it would fail
    for name, root in (("labelled", labelled), ("bare", bare)):
        build_patches(root, ["sub-01", "sub-02"], PATCHES, IntensitySettings(), tmp_path / name, labelled=False)
    one, other = (open_patch_set(tmp_path / name) for name in ("labelled", "bare"))
    np.testing.assert_array_equal(one.image, other.image)
    assert not one.label.any()
    assert one.meta["labelled"] is False
    assert {row["kind"] for row in _rows(tmp_path / "bare")} == {"bright", "brain"}


def test_unlabelled_patients_give_no_patches(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "lab", 1, SHAPE, labelled=False)
    with pytest.raises(InputError, match=r"sub-01_angio.*no vessel label"):
        build_patches(folder, ["sub-01"], PATCHES, IntensitySettings(), tmp_path / "set")
