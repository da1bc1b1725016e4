"""The embedded cohort: determinism, geometry, labels, files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.nifti import load_volume, read_volume
from angiosynth.phantom import drawing as phantom
from angiosynth.phantom.drawing import generate_patient, generate_site
from angiosynth.phantom.head import smooth_noise
from angiosynth.settings import ScannerSettings

nib: Any = nibabel

SMALL = ScannerSettings(patients=3, shape=(96, 112, 20), spacing_mm=(1.6, 1.6, 3.2))
TINY = SMALL.model_copy(update={"shape": (48, 56, 12), "spacing_mm": (3.2, 3.2, 5.0)})


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


def test_carotids_below_the_skull_are_in_the_image_and_not_in_the_label() -> None:
    scanner = SMALL.model_copy(update={"shape": (96, 112, 36), "spacing_mm": (1.6, 1.6, 4.0), "noise": 0.0})
    image, brain, label, affine = generate_patient(scanner, seed=3, patient=1, is_diseased=False)
    below = slice(0, int((-40 - affine[2, 3]) / 4.0))  # from 40 mm below the circle of Willis downwards
    vessels = (image > 1.5 * np.median(image[brain])) & ~brain
    assert np.count_nonzero(vessels[30:66, 30:82, below]) > 10
    assert not np.any(label & ~brain)


@pytest.mark.parametrize(("seed", "is_diseased"), [(5, False), (6, True)])
def test_vessel_fraction_of_a_full_size_slab(seed: int, is_diseased: bool) -> None:
    scanner = SMALL.model_copy(update={"shape": (192, 224, 32), "spacing_mm": (0.8, 0.8, 1.0)})
    _, brain, label, _ = generate_patient(scanner, seed, patient=1, is_diseased=is_diseased)
    assert 0.003 < label.sum() / brain.sum() < 0.015


def test_orientation_flips_axes_and_leaves_every_voxel_where_it_was(patient: tuple[np.ndarray, ...]) -> None:
    turned = generate_patient(SMALL.model_copy(update={"orientation": "LPS"}), seed=3, patient=1, is_diseased=False)
    assert "".join(nib.aff2axcodes(turned[3])) == "LPS"
    for volume, original in zip(turned[:3], patient[:3], strict=True):
        np.testing.assert_array_equal(volume[::-1, ::-1], original)
    last = np.array([*SMALL.shape[:2], 1]) - 1
    np.testing.assert_allclose(turned[3] @ [*last, 1], patient[3] @ [0, 0, 0, 1])
    np.testing.assert_allclose(np.abs(np.diagonal(turned[3])[:3]), SMALL.spacing_mm)


@pytest.mark.parametrize("orientation", ["LPS", "LAS", "RPS"])
def test_files_of_every_orientation_are_the_same_canonical_volume(orientation: str, tmp_path: Path) -> None:
    for code in ("RAS", orientation):
        phantom._write_patient(TINY.model_copy(update={"orientation": code}), 1, "site-a", 1, False, tmp_path / code)
    for path in sorted((tmp_path / "RAS").rglob("*.nii.gz")):
        turned = nib.load(tmp_path / orientation / path.relative_to(tmp_path / "RAS"))
        assert "".join(nib.aff2axcodes(turned.affine)) == orientation
        canonical, original = nib.as_closest_canonical(turned), nib.load(path)
        np.testing.assert_array_equal(np.asarray(canonical.dataobj), np.asarray(original.dataobj))
        np.testing.assert_allclose(canonical.affine, original.affine, atol=1e-4)


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
    scanner = TINY.model_copy(update={"orientation": "LPS"})
    generate_site(scanner, seed=7, site="site-b", diseased_share=0.34, target=tmp_path / "site-b")
    patients = find_patients(tmp_path / "site-b")
    assert [result.id for result in patients] == ["sub-01", "sub-02", "sub-03"]
    rows = (tmp_path / "site-b/participants.tsv").read_text().splitlines()
    groups = dict(row.split("\t") for row in rows[1:])
    assert sorted(groups.values()) == ["control", "control", "steno-occlusive"]  # 0.34 of three
    for number, result in enumerate(patients, 1):
        image, brain, label, affine = generate_patient(scanner, 7, number, groups[result.id] != "control", "site-b")
        assert result.brain is not None
        assert result.label is not None
        for path, drawn in ((result.image, image), (result.brain, brain), (result.label, label)):
            scan = nib.load(path)
            np.testing.assert_array_equal(np.asarray(scan.dataobj), drawn)
            np.testing.assert_allclose(scan.affine, affine, atol=1e-4)
            assert load_volume(path).orientation == "LPS"
        assert read_volume(result.image).spacing_mm == pytest.approx(scanner.spacing_mm)


def test_unlabelled_patients_come_after_the_others_and_change_none_of_them(tmp_path: Path) -> None:
    scanner = TINY.model_copy(update={"patients": 1, "unlabelled": 2})
    generate_site(scanner, seed=7, site="site-a", diseased_share=0.5, target=tmp_path)
    patients = find_patients(tmp_path)
    assert [patient.label is not None for patient in patients] == [True, False, False]
    groups = [row.split("\t")[1] for row in (tmp_path / "participants.tsv").read_text().splitlines()[1:]]
    assert sorted(groups) == ["control", "control", "steno-occlusive"]  # half of one is none, half of two is one
    assert groups[0] == "control"
    image, *_ = generate_patient(scanner, 7, 1, False, "site-a")
    np.testing.assert_array_equal(np.asarray(nib.load(patients[0].image).dataobj), image)


def test_files_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    one = SMALL.model_copy(update={"patients": 1, "shape": (32, 40, 8), "spacing_mm": (5.0, 4.6, 8.0)})
    for folder in ("first", "second"):
        phantom._write_patient(one, 1, "site-a", 1, True, tmp_path / folder)
    first, second = (sorted((tmp_path / folder).rglob("*.nii.gz")) for folder in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 3


def test_headers_hold_no_text_and_files_no_name_or_time(tmp_path: Path) -> None:
    phantom._write_patient(TINY, 1, "site-a", 1, True, tmp_path)
    paths = sorted(tmp_path.rglob("*.nii.gz"))
    assert len(paths) == 3
    for path in paths:
        scan = nib.load(path)
        for field in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
            assert bytes(scan.header[field]).strip(b"\0") == b""
        assert len(scan.header.extensions) == 0
        assert scan.header.get_xyzt_units() == ("mm", "sec")
        assert scan.get_data_dtype() == np.uint8
        assert path.read_bytes()[3:8] == bytes(5)  # gzip: no flags, so no name; no time


def test_patients_depend_neither_on_the_processes_nor_on_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = []

    def pool(count: int, *rest: Any) -> ProcessPoolExecutor:
        workers.append(count)
        return ProcessPoolExecutor(count, *rest)

    monkeypatch.setattr(phantom, "ProcessPoolExecutor", pool)
    most = phantom.ALONE  # so many voxels are drawn without worker processes
    for cores, patients in ((0, 2), (1, 2), (2, 3)):
        monkeypatch.setattr(phantom, "ALONE", 0 if cores else most)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(max(1, cores))), raising=False)
        generate_site(TINY.model_copy(update={"patients": patients}), 7, "site-a", 0.0, tmp_path / str(cores))
    assert workers == [1, 2]
    alone, first, second = ({path.name: path.read_bytes() for path in (tmp_path / cores).rglob("*.nii.gz")} for cores in "012")
    assert len(first) == 6
    assert len(second) == 9
    assert alone == first
    assert first.items() <= second.items()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_site_that_breaks_off_while_patients_are_drawn_leaves_what_was_there_before(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(jobs: Iterable[Future[int]]) -> Iterator[Future[int]]:
        yield next(as_completed(jobs))
        raise error

    (tmp_path / "site-a").mkdir()
    (tmp_path / "site-a/old").touch()
    monkeypatch.setattr(phantom, "ALONE", 0)
    monkeypatch.setattr(phantom, "as_completed", broken)
    with pytest.raises(error):
        generate_site(TINY.model_copy(update={"patients": 2}), 1, "site-a", 0.5, tmp_path / "site-a")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["site-a", "site-a/old"]


@pytest.mark.long
def test_a_site_that_breaks_off_outside_the_wait_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(items: Iterable[int], what: str, total: int) -> Iterator[int]:
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "progress", broken)
    with pytest.raises(KeyboardInterrupt):
        generate_site(TINY.model_copy(update={"patients": 2}), 1, "site-a", 0.5, tmp_path / "site-a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are of POSIX")
def test_ctrl_c_ends_all_processes_and_leaves_no_folder(root: Path, tmp_path: Path) -> None:
    call = f"generate_site(ScannerSettings.model_validate_json({TINY.model_copy(update={'patients': 5000}).model_dump_json()!r}), "
    call += "1, 'site-a', 0.5, Path('site-a'))"
    head = "from pathlib import Path; from angiosynth.phantom.drawing import generate_site; from angiosynth.settings import ScannerSettings"
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored where a shell started the tests behind it
    command = [sys.executable, "-c", f"{heed}; {head}; {call}"]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < deadline and not list(tmp_path.glob(".partial-*/sub-*")):
            time.sleep(0.05)
        assert list(tmp_path.glob(".partial-*/sub-*")), "no patient was drawn in a minute"
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=30)  # until the last process that holds its end of the pipe is gone
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode != 0
    assert list(tmp_path.iterdir()) == []
