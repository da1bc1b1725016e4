"""What is read into a lab's files: grids, classes, scaling, names, and what is not.

Neighbours tried: all 48 orders of scan, label and brain mask against one another and against any header; headers of zeros and of a
contradiction; extensions of 1 to 70,000 names in both versions of NIfTI; scalings that are no numbers; names of files in any bytes.
"""

from __future__ import annotations

import gzip
import itertools
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from angiosynth.data.bids import find_patients
from angiosynth.data.checks import check_patients
from angiosynth.data.copies import CopySearch
from angiosynth.data.nifti import load_mask, load_volume, read_volume, write_mask
from angiosynth.errors import InputError
from angiosynth.importing.import_checks import Rules, check_files
from angiosynth.importing.importing import clean_scan, import_folder
from angiosynth.importing.pairing import Sources, pair_by_patterns
from angiosynth.importing.pseudonyms import draw_numbers
from tests.factories import affine_of, make_arrays, nib
from tests.importing.lab import BRAIN, LABEL, NAME, SCAN2, SHAPE, call_import, save, turned

ORIENTATIONS = ["".join(code) for axes in itertools.permutations(("RL", "AP", "SI")) for code in itertools.product(*axes)]
CUBE = (8, 8, 8)  # one shape in every order, so that only geometry tells


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(*[st.sampled_from(ORIENTATIONS)] * 4, st.booleans())
def test_masks_lie_on_the_scan_whatever_the_orders_of_the_files(
    tmp_path: Path, scan_order: str, label_order: str, header: str, brain_header: str, trust: bool
) -> None:
    """By right headers in all orders; by trust in the scan's order whatever header the mask has."""
    scan, _, label = make_arrays(CUBE, 7, tubes=1, radius=1.2)
    label[0, 1, 2] = 1  # no symmetry
    brain = np.ones(CUBE, np.uint8)
    stored, affine = turned(scan, scan_order)
    save(tmp_path / "scan.nii", stored, affine)
    if trust:
        save(tmp_path / "label.nii", turned(label, scan_order)[0], turned(label, header)[1] @ np.diag([2, 2, 2, 1]))
        save(tmp_path / "brain.nii", turned(brain, scan_order)[0], turned(brain, brain_header)[1] @ np.diag([1, 3, 1, 1]))
    else:
        save(tmp_path / "label.nii", *turned(label, label_order))
        save(tmp_path / "brain.nii", *turned(brain, brain_header))
    sources = Sources("scan.nii", tmp_path / "scan.nii", tmp_path / "label.nii", tmp_path / "brain.nii")
    masks = check_files(sources, Rules(trust_shape=trust), CopySearch()).masks
    assert masks is not None
    np.testing.assert_array_equal(masks["vessels"], label.astype(bool))


def test_trust_needs_one_stored_shape_and_takes_headers_that_say_nothing(lab: Path, tmp_path: Path) -> None:
    _, brain, label = make_arrays(SHAPE, 2)
    save(lab / LABEL, turned(label, "PSR")[0], np.eye(4))
    code, output = call_import(lab, "--dry-run", "--trust-shape")
    assert (code, "--trust-shape needs one stored shape, and (24, 5, 20) is not (20, 24, 5)" in output) == (2, True)
    save(lab / LABEL, label, affine_of())
    raw = bytearray(gzip.decompress((lab / LABEL).read_bytes()))
    raw[280:328] = bytes(48)  # an sform of zeros
    (lab / LABEL).write_bytes(gzip.compress(raw))
    assert "singular" in call_import(lab, "--dry-run")[1]
    code, output = call_import(lab, "-o", str(tmp_path / "site"), "--names", str(tmp_path / "names.csv"), "--trust-shape")
    assert code == 0, output
    number = next(line for line in (tmp_path / "names.csv").read_text().splitlines() if SCAN2 in line).split(",")[0]
    written = load_mask(tmp_path / "site" / number / "anat" / f"{number}_desc-vessel_mask.nii.gz").volume.array
    np.testing.assert_array_equal(written, (label * brain).astype(bool))


def test_a_header_that_contradicts_itself_is_written_anew_as_was_said(lab: Path, tmp_path: Path) -> None:
    """Identity as sform beside 0.6 mm: seven times the vessel's volume, were it taken."""
    for path in lab.glob("*02*"):
        raw = gzip.decompress(path.read_bytes()) if path.name.lower().endswith("gz") else path.read_bytes()
        image = nib.Nifti1Image.from_bytes(raw)
        image.set_sform(np.eye(4), 1)
        image.set_qform(None, 0)
        image.header["pixdim"][1:4] = 0.6
        path.write_bytes(gzip.compress(image.to_bytes()) if path.name.lower().endswith("gz") else image.to_bytes())
    code, output = call_import(lab, "--dry-run")
    assert (code, output.count("1 x 1 x 1 mm by its sform and 0.6 x 0.6 x 0.6 mm by its pixdim")) == (2, 1)
    names = tmp_path / "names.csv"
    for choice, spacing in (("pixdim", 0.6), ("sform", 1.0)):
        code, output = call_import(lab, "-o", str(tmp_path / "site"), "--names", str(names), "--geometry", choice)
        assert code == 0, output
        assert f"grid taken from {choice}" in output
        number = next(line for line in names.read_text().splitlines() if SCAN2 in line).split(",")[0]
        written = load_volume(tmp_path / "site" / number / "anat" / f"{number}_angio.nii.gz")
        assert written.volume.spacing_mm == pytest.approx((spacing,) * 3)
        assert written.grid.conflict == ""
        assert check_patients(find_patients(tmp_path / "site"))[1] == []


@pytest.mark.parametrize("size", [1, 170, 3000, 70000])
def test_extensions_of_any_size_are_read_past_and_dropped(tmp_path: Path, size: int) -> None:
    """Converters put whole DICOM headers there. What a scan's file holds never keeps its mask from being written."""
    scan = make_arrays(SHAPE, 4)[0]
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        image = kind(scan, affine_of())
        image.header.extensions.append(nib.nifti1.Nifti1Extension(4, NAME * size))
        for name in ("scan.nii", "scan.nii.gz"):
            nib.save(image, tmp_path / name)
            np.testing.assert_array_equal(read_volume(tmp_path / name).array, scan)
            write_mask(scan > 500, tmp_path / name, tmp_path / "mask.nii")
            np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii").volume.array, scan > 500)
            (tmp_path / "clean.nii").write_bytes(clean_scan(tmp_path / name))
            assert NAME not in (tmp_path / "clean.nii").read_bytes()
            np.testing.assert_array_equal(read_volume(tmp_path / "clean.nii").array, scan)


NAN, INF = float("nan"), float("inf")
SCALINGS = [(1, NAN, None), (2, INF, None), (2, -INF, None), (0, NAN, (1, 0)), (NAN, NAN, (1, 0)), (INF, 1, (1, 0)), (2, 3, (2, 3))]


@pytest.mark.parametrize(("slope", "inter", "expected"), SCALINGS)
def test_scaling_is_read_and_written_or_refused(tmp_path: Path, slope: float, inter: float, expected: tuple[int, int] | None) -> None:
    scan = make_arrays(SHAPE, 4)[0]
    raw = bytearray(nib.Nifti1Image(scan, affine_of()).to_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "scan.nii").write_bytes(raw)
    if expected is None:
        with pytest.raises(InputError, match="scl_inter, is not a number"):
            read_volume(tmp_path / "scan.nii")
        return
    values = scan * expected[0] + expected[1]
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").array, values)
    (tmp_path / "clean.nii").write_bytes(clean_scan(tmp_path / "scan.nii"))
    np.testing.assert_array_equal(nib.load(tmp_path / "clean.nii").get_fdata(), values)


# Latin-1, both Unicode forms, and what tables, shells and addresses care about.
NAMES = (
    b"J\xfcrgen",
    b"carriage\rreturn",
    "Ju\u0308rgen".encode(),
    "J\u00fcrgen".encode(),
    b'a,b"c',
    b"line\nbreak",
    b"[x] %41 #1?",
    b"-o",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_keeps_its_number(lab: Path, tmp_path: Path, name: bytes) -> None:
    for path in lab.glob("*02*"):
        end = b"_vessels.nii.gz" if "VESSELS" in path.name else b"_brain.nii.gz" if "brain" in path.name else b".nii"
        os.rename(path, os.fsencode(lab) + b"/scan" + name + end)
    paired, faults = pair_by_patterns(lab, "scan*", "*_vessels", "*_brain")
    assert faults == []
    import_folder(paired, Rules(), tmp_path / "site", tmp_path / "names.csv")
    before = draw_numbers(tmp_path / "names.csv", [])
    assert os.fsdecode(b"scan" + name + b".nii") in before
    import_folder(paired, Rules(), tmp_path / "site", tmp_path / "names.csv")
    assert draw_numbers(tmp_path / "names.csv", []) == before


def test_another_unicode_form_of_a_name_is_the_same_scan(tmp_path: Path) -> None:
    paths = [unicodedata.normalize(form, "Mu\u0308ller.nii") for form in ("NFD", "NFC")]
    (tmp_path / "names.csv").write_text(f"patient,scan\nsub-007,{paths[0]}\n", encoding="utf-8")
    assert draw_numbers(tmp_path / "names.csv", [paths[1]]) == {paths[1]: "sub-007"}
    assert draw_numbers(tmp_path / "names.csv", paths).keys() == set(paths)


def test_a_label_that_fills_the_brain_is_no_vessel_label(lab: Path) -> None:
    save(lab / LABEL, make_arrays(SHAPE, 2)[1], affine_of())
    assert "the label fills 100% of the brain" in call_import(lab, "--dry-run")[1]


def test_near_copies_are_noted_and_taken(lab: Path) -> None:
    scan = make_arrays(SHAPE, 1)[0]
    save(lab / SCAN2, np.round(scan / 16) * 16, affine_of())
    save(lab / BRAIN, make_arrays(SHAPE, 1)[1], affine_of())
    save(lab / LABEL, np.roll(make_arrays(SHAPE, 1)[2], 1, axis=0) * make_arrays(SHAPE, 1)[1], affine_of())
    code, output = call_import(lab, "--dry-run")
    assert code == 0, output
    assert "processed once more (correlation 1.00); if they are one person's" in output


@pytest.mark.parametrize("order", ["LPS", "PIR", "RAI"])
@pytest.mark.parametrize("shift", [0.05, 0.3, 2.0])
def test_trust_never_turns_a_label_whose_header_fits_but_for_a_shift(tmp_path: Path, order: str, shift: float) -> None:
    scan, brain, label = make_arrays(CUBE, 7)
    save(tmp_path / "scan.nii", scan, affine_of())
    save(tmp_path / "brain.nii", np.ones(CUBE), affine_of())
    stored, affine = turned(label * brain, order)
    affine[:3, 3] += shift * 0.8 / np.sqrt(3)
    save(tmp_path / "label.nii", stored, affine)
    sources = Sources("scan.nii", tmp_path / "scan.nii", tmp_path / "label.nii", tmp_path / "brain.nii")
    if shift < 0.1:
        masks = check_files(sources, Rules(trust_shape=True), CopySearch()).masks
        assert masks is not None
        np.testing.assert_array_equal(masks["vessels"], (label * brain).astype(bool))
        return
    for trust in (True, False):
        with pytest.raises(InputError, match=f"lies {shift:.1f} voxels off the scan's grid by its header"):
            check_files(sources, Rules(trust_shape=trust), CopySearch())


def test_a_mask_is_no_scan(lab: Path) -> None:
    save(lab / SCAN2, make_arrays(SHAPE, 2)[2] * 7, affine_of())
    assert "has two values only, 0 and 7, so it is a mask and no scan" in call_import(lab, "--dry-run")[1]


@pytest.mark.parametrize(
    "text", ["patient;scan;vessels;brain\r\nsub-007;{};;\r\n", "\ufeffpatient,scan,vessels,brain\r\nsub-007,{},,\r\n,,,\r\n"]
)
@pytest.mark.parametrize("name", ["P1_tof.nii.gz", "P1_tof.nii"])
def test_numbers_outlive_spreadsheets_and_gzip(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "names.csv").write_text(text.format(name), encoding="utf-8", newline="")
    assert draw_numbers(tmp_path / "names.csv", ["P1_tof.nii.gz"]) == {"P1_tof.nii.gz": "sub-007"}


def test_patients_that_are_gone_are_named(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("-o", str(tmp_path / "site"), "--names", str(tmp_path / "names.csv"))
    assert call_import(lab, *words)[0] == 0
    gone = draw_numbers(tmp_path / "names.csv", [])[SCAN2]
    for name in (SCAN2, LABEL, BRAIN):
        (lab / name).unlink()
    code, output = call_import(lab, *words)
    assert code == 0
    said = output + capsys.readouterr().err
    assert f"1 patients of an earlier import are not among these scans and are gone from it: {gone}" in said
