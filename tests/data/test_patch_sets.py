"""Opening patch sets: pairs, statistics, parts, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.patches import PatchSet, create_patch_arrays, open_patch_set
from angiosynth.errors import InputError


def test_of_patients_gives_their_pairs_without_reading(built: Path) -> None:
    pairs = open_patch_set(built)
    assert isinstance(pairs.image, np.memmap)
    part = pairs.of_patients(["sub-03", "sub-01"])
    assert len(part) == 100
    assert part.image is pairs.image
    assert set(part.patient[part.rows]) == {"sub-01", "sub-03"}
    np.testing.assert_array_equal(part.rows, [*range(50), *range(100, 150)])
    # Index 50 of the part is row 100 of the whole.
    np.testing.assert_array_equal(part.pairs([50, 0])[0], pairs.pairs([100, 0])[0])
    assert len(part.of_patients(["sub-03"])) == 50
    with pytest.raises(InputError, match="no patches of sub-02"):
        part.of_patients(["sub-02"])


def _set_of(folder: Path, image: np.ndarray[Any, Any], card: bool = True) -> Path:
    images, labels = create_patch_arrays(folder, len(image), image.shape[1])
    images[:] = image
    labels[:] = image > 200
    if card:
        (folder / "card.json").write_text("{}")
    return folder


def test_pairs_are_scaled_and_synthetic_sets_have_no_patients(tmp_path: Path) -> None:
    image = np.array([[[0, 255], [51, 204]], [[255, 255], [255, 255]]], np.uint8)
    pairs = open_patch_set(_set_of(tmp_path / "set", image))
    assert pairs.patient.tolist() == ["", ""]
    assert pairs.size == 2
    got, label = pairs.pairs([1, 0])
    assert got.dtype == label.dtype == np.float32
    np.testing.assert_allclose(got[1], np.array([[-1, 1], [-0.6, 0.6]]), atol=1e-6)
    np.testing.assert_array_equal(label, np.array([[[1, 1], [1, 1]], [[0, 1], [0, 1]]]))


def test_mean_and_deviation_by_hand(tmp_path: Path) -> None:
    half = np.zeros((4, 2, 2), np.uint8)
    half[:, 0] = 255  # half of the values -1, half 1
    assert open_patch_set(_set_of(tmp_path / "half", half)).mean_deviation() == pytest.approx((0.0, 1.0))
    quarter = np.zeros((4, 2, 2), np.uint8)
    quarter[:, 0, 0] = 255  # mean -0.5, variance 1 - 0.25
    assert open_patch_set(_set_of(tmp_path / "quarter", quarter)).mean_deviation() == pytest.approx((-0.5, 0.75**0.5))
    blank = open_patch_set(_set_of(tmp_path / "blank", np.zeros((1, 2, 2), np.uint8)))
    assert blank.mean_deviation() == pytest.approx((-1.0, 1 / 127.5))


def test_mean_and_deviation_look_at_2000_patches_from_all_over_the_set(tmp_path: Path) -> None:
    image = np.zeros((5000, 2, 2), np.uint8)
    image[2500:] = 255
    mean, deviation = open_patch_set(_set_of(tmp_path / "set", image)).mean_deviation()
    assert mean == pytest.approx(0, abs=1e-3)
    assert deviation == pytest.approx(1, abs=1e-3)


def _copy(built: Path, target: Path) -> Path:
    target.mkdir()
    for path in built.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def _cut_image(folder: Path) -> None:
    raw = (folder / "image.npy").read_bytes()
    (folder / "image.npy").write_bytes(raw[:-5])


def _pickled(folder: Path) -> None:
    np.save(folder / "image.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _floats(folder: Path) -> None:
    np.save(folder / "label.npy", np.zeros((150, 16, 16), np.float32))


def _other_number(folder: Path) -> None:
    np.save(folder / "label.npy", np.zeros((149, 16, 16), np.uint8))


def _no_description(folder: Path) -> None:
    (folder / "set.json").unlink()


def _list_description(folder: Path) -> None:
    (folder / "set.json").write_text("[]")


def _no_array(folder: Path) -> None:
    (folder / "label.npy").unlink()


def _short_index(folder: Path) -> None:
    lines = (folder / "index.csv").read_text().splitlines()
    (folder / "index.csv").write_text("\n".join(lines[:-1]) + "\n")


def _bad_name(folder: Path) -> None:
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(text.replace("sub-02", "../../sub-02", 1))


def _no_column(folder: Path) -> None:
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(text.replace("patient", "person", 1))


def _wrong_n(folder: Path) -> None:
    (folder / "set.json").write_text('{"n": 7}')


DAMAGES = [
    (_cut_image, r"image\.npy: missing or damaged"),
    (_pickled, r"image\.npy: missing or damaged"),
    (_floats, r"label\.npy: not an array"),
    (_other_number, r"label\.npy \(149, 16, 16\)"),
    (_no_description, r"card\.json: missing"),
    (_list_description, r"set\.json: damaged"),
    (_no_array, r"label\.npy: missing"),
    (_short_index, "give another number"),
    (_bad_name, r"index\.csv: a row has no patient's name"),
    (_no_column, r"index\.csv: damaged"),
    (_wrong_n, "give another number"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_damaged_sets_are_refused(built: Path, tmp_path: Path, damage: Any, message: str) -> None:
    folder = _copy(built, tmp_path / "set")
    assert isinstance(open_patch_set(folder), PatchSet)
    damage(folder)
    with pytest.raises(InputError, match=message):
        open_patch_set(folder)
