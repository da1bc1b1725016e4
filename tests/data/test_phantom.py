"""The embedded cohort: determinism, geometry, labels, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from angiosynth.data import phantom
from angiosynth.data.cohort import find_patients
from angiosynth.data.head import smooth_noise
from angiosynth.data.nifti import orientation_of, read_volume
from angiosynth.data.phantom import generate_patient, generate_site
from angiosynth.settings import ScannerSettings

nib: Any = nibabel

SMALL = ScannerSettings(patients=3, shape=(96, 112, 20), spacing_mm=(1.6, 1.6, 3.2))


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def patient() -> tuple[np.ndarray, ...]:
    return generate_patient(SMALL, seed=3, patient=1, is_diseased=False)


def test_the_same_seed_draws_the_same_patient(patient: tuple[np.ndarray, ...]) -> None:
    assert same(patient, generate_patient(SMALL, seed=3, patient=1, is_diseased=False))


@pytest.mark.parametrize("change", [{"seed": 4}, {"patient": 2}, {"site": "site-b"}, {"is_diseased": True}])
def test_seed_patient_site_and_disease_each_change_the_label(patient: tuple[np.ndarray, ...], change: dict[str, int | str | bool]) -> None:
    kept = {"seed": 3, "patient": 1, "is_diseased": False} | change
    other = generate_patient(SMALL, **kept)  # type: ignore[arg-type]
    assert not np.array_equal(other[2], patient[2])


def test_label_lies_in_the_brain_and_is_brighter(patient: tuple[np.ndarray, ...]) -> None:
    image, brain, label, _ = patient
    assert image.dtype == np.uint8
    assert image.shape == brain.shape == label.shape == SMALL.shape
    assert not np.any(label & ~brain)
    assert 0.35 < brain.mean() < 0.7
    assert np.median(image[label]) > 1.4 * np.median(image[brain & ~label])
    assert np.median(image[~brain]) < 0.5 * np.median(image[brain])


def test_vessel_fraction_of_a_full_size_slab() -> None:
    scanner = SMALL.model_copy(update={"shape": (192, 224, 32), "spacing_mm": (0.8, 0.8, 1.0)})
    _, brain, label, _ = generate_patient(scanner, seed=5, patient=1, is_diseased=False)
    assert 0.004 < label.sum() / brain.sum() < 0.016


def test_orientation_flips_axes_and_leaves_every_voxel_where_it_was(patient: tuple[np.ndarray, ...]) -> None:
    turned = generate_patient(SMALL.model_copy(update={"orientation": "LPS"}), seed=3, patient=1, is_diseased=False)
    assert "".join(nib.aff2axcodes(turned[3])) == "LPS"
    for volume, original in zip(turned[:3], patient[:3], strict=True):
        np.testing.assert_array_equal(volume[::-1, ::-1], original)
    last = np.array([*SMALL.shape[:2], 1]) - 1
    np.testing.assert_allclose(turned[3] @ [*last, 1], patient[3] @ [0, 0, 0, 1])
    np.testing.assert_allclose(np.abs(np.diagonal(turned[3])[:3]), SMALL.spacing_mm)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slabs", 5),
        ("slab_step", 0.4),
        ("saturation", 0.9),
        ("vessel_contrast", 3.0),
        ("tissue_contrast", 2.0),
        ("noise", 0.0),
        ("blur_mm", 1.5),
        ("bias", 0.6),
    ],
)
def test_every_scanner_setting_changes_the_image_and_none_the_label(patient: tuple[np.ndarray, ...], key: str, value: float) -> None:
    image, _, label, _ = generate_patient(SMALL.model_copy(update={key: value}), seed=3, patient=1, is_diseased=False)
    assert np.abs(image.astype(int) - patient[0]).max() > 5
    np.testing.assert_array_equal(label, patient[2])


def test_smooth_noise_has_mean_zero_deviation_one_and_its_grain() -> None:
    field = smooth_noise((80, 80, 80), (1.0, 1.0, 1.0), 4.0, np.random.default_rng(1))
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1.0, abs=0.1)
    near = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    far = np.corrcoef(field[:-16].ravel(), field[16:].ravel())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.1


def test_site_is_a_bids_dataset_whose_patients_are_those_drawn_alone(tmp_path: Path) -> None:
    scanner = SMALL.model_copy(update={"shape": (48, 56, 12), "spacing_mm": (3.2, 3.2, 5.0), "orientation": "LPS"})
    generate_site(scanner, seed=7, site="site-b", diseased_share=0.34, target=tmp_path / "site-b")
    patients = find_patients(tmp_path / "site-b")
    assert [found.id for found in patients] == ["sub-01", "sub-02", "sub-03"]
    rows = (tmp_path / "site-b/participants.tsv").read_text().splitlines()
    groups = dict(row.split("\t") for row in rows[1:])
    assert sorted(groups.values()) == ["control", "control", "steno-occlusive"]  # 0.34 of three
    for number, found in enumerate(patients, 1):
        image, brain, label, affine = generate_patient(scanner, 7, number, groups[found.id] != "control", "site-b")
        assert found.brain is not None
        assert found.label is not None
        for path, drawn in ((found.image, image), (found.brain, brain), (found.label, label)):
            scan = nib.load(path)
            np.testing.assert_array_equal(np.asarray(scan.dataobj), drawn)
            np.testing.assert_allclose(scan.affine, affine, atol=1e-4)
            assert orientation_of(path) == "LPS"
        assert read_volume(found.image).spacing_mm == pytest.approx(scanner.spacing_mm)
        assert bytes(nib.load(found.image).header["descrip"]).strip(b"\0") == b""


def test_files_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    one = SMALL.model_copy(update={"patients": 1, "shape": (32, 40, 8), "spacing_mm": (5.0, 4.6, 8.0)})
    for folder in ("first", "second"):
        phantom._write_patient(one, 1, "site-a", 1, True, tmp_path / folder)
    first, second = (sorted((tmp_path / folder).rglob("*.nii.gz")) for folder in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 3


def test_a_failing_patient_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> object:
        yield 1
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "_drawn", broken)
    with pytest.raises(KeyboardInterrupt):
        generate_site(SMALL, 1, "site-a", 0.5, tmp_path / "site-a")
    assert list(tmp_path.iterdir()) == []
