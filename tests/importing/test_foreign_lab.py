"""A lab's folder in many formats: imported like NIfTI, and no name of a header or a DICOM element comes along."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.checks import check_patients
from angiosynth.data.nifti import load_mask, load_volume
from angiosynth.errors import InputError
from angiosynth.importing.pairing import not_taken, pair_by_patterns, pair_by_table
from tests.factories import Array, affine_of, make_arrays
from tests.foreign import PERSON, stored_as, write_meta, write_nrrd, write_pair, write_series
from tests.importing.lab import SHAPE, call_import, save

WORDS = ("--scan", "*/tof", "--vessels", "*/label", "--brain", "*/brain")


def mended(seed: int) -> tuple[Array, Array, Array]:
    """A scan of little-endian numbers, brain and label."""
    scan, brain, label = make_arrays(SHAPE, seed)
    return scan.astype("<i2"), brain, label


def make_lab_of_formats(folder: Path) -> Path:
    """Six patients, a format each; labels and masks in other formats and orientations than the scans."""
    for seed, name in enumerate(("mha", "mhd", "nrrd", "nhdr", "pair", "dicom"), start=1):
        scan, brain, label = mended(seed)
        place = folder / f"{name}"
        stored, affine = stored_as(scan, "LPS")
        if name in ("mha", "mhd"):
            write_meta(place / f"tof.{name}", stored, affine, packed=True)
            write_nrrd(place / "label.seg.nrrd", *stored_as(label, "PIR"), packed=True)
        elif name in ("nrrd", "nhdr"):
            write_nrrd(place / f"TOF.{name}", stored.astype(">i2"), affine)
            write_meta(place / "label.mha", *stored_as(label, "RAS"))
        elif name == "pair":
            write_pair(place / "tof.hdr", stored, affine)
            write_pair(place / "label.hdr", *stored_as(label * 255, "SAL"))
        else:
            write_series(place / "tof", stored, affine)
            write_meta(place / "label.mhd", *stored_as(label, "ILA"))
        save(place / "brain.nii.gz", brain, affine_of(), kind="|u1")
    return folder


def test_every_format_is_imported_as_nifti_and_no_name_comes_along(tmp_path: Path, project: Path) -> None:
    lab, target, names = make_lab_of_formats(tmp_path / "lab"), tmp_path / "site", tmp_path / "names.csv"
    code, output = call_import(lab, *WORDS, "-o", str(target), "--names", str(names))
    assert code == 0, output
    assert "6 patients, 6 with a label" in output
    assert "not taken" not in output
    facts, faults = check_patients(find_patients(target))
    assert faults == []
    assert len(facts) == 6
    number = {line.split(",")[1].split("/")[0]: line.split(",")[0] for line in names.read_text().splitlines()[1:]}
    for seed, name in enumerate(("mha", "mhd", "nrrd", "nhdr", "pair", "dicom"), start=1):
        stem = target / number[name] / "anat" / number[name]
        scan, brain, label = mended(seed)
        written = load_volume(Path(f"{stem}_angio.nii.gz"))
        np.testing.assert_array_equal(written.volume.array, scan)
        np.testing.assert_allclose(written.volume.affine, affine_of(), atol=1e-5)
        assert (written.orientation, written.grid.conflict) == ("LPS", "")
        for kind, mask in (("brain", brain), ("vessel", label)):
            np.testing.assert_array_equal(load_mask(Path(f"{stem}_desc-{kind}_mask.nii.gz")).volume.array, mask.astype(bool))
    for path in (path for path in target.rglob("*") if path.is_file()):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not any(word in data for word in (PERSON.encode(), b"MUELLER", b"19500101", b"TOF of"))


def test_no_name_of_a_header_is_printed(tmp_path: Path, project: Path) -> None:
    lab = make_lab_of_formats(tmp_path / "lab")
    write_series(lab / "dicom" / "tof", mended(9)[0], affine_of(), series="1.2.9", number=None)
    code, output = call_import(lab, *WORDS, "--dry-run")
    assert code == 2
    assert f"{lab}/dicom/tof: holds 2 series, 7 (5 slices of 20 x 24), without a number (5 slices of 20 x 24)" in output
    assert "MUELLER" not in output
    assert call_import(lab, *WORDS, "--dry-run", "--series", "7")[0] == 0


def test_series_are_folders_in_patterns_and_in_tables(tmp_path: Path) -> None:
    lab = make_lab_of_formats(tmp_path / "lab")
    paired, faults = pair_by_patterns(lab, "**/tof")
    assert faults == []
    assert [one.name for one in paired if "dicom" in one.name] == ["dicom/tof"]
    assert [path.relative_to(lab).as_posix() for path in not_taken(lab, paired) if "dicom" in path.parts] == [
        "dicom/brain.nii.gz",
        "dicom/label.mhd",
    ]
    table = tmp_path / "table.csv"
    table.write_text("scan,vessels\ndicom/tof,dicom/label.mhd\n")
    assert [one.scan for one in pair_by_table(lab, table)[0]] == [lab / "dicom/tof"]


def test_slices_in_the_folder_itself_have_no_name(tmp_path: Path) -> None:
    write_series(tmp_path / "lab", mended(1)[0], affine_of())
    with pytest.raises(InputError, match="holds DICOM slices itself"):
        pair_by_patterns(tmp_path / "lab", "*")


def test_nifti_goes_before_what_it_was_made_of(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    for seed in (1, 2):
        write_meta(lab / f"p{seed}.mha", mended(seed)[0], affine_of())
    save(lab / "p1.nii.gz", mended(1)[0], affine_of())
    paired, faults = pair_by_patterns(lab, "p*")
    assert faults == []
    assert [one.name for one in paired] == ["p1.nii.gz", "p2.mha"]
    assert not_taken(lab, paired) == [lab / "p1.mha"]


def test_a_beginning_of_a_scans_text_pairs_where_it_is_its_alone(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    for name in ("Normal-001", "Normal-002"):
        (lab / name / "MRA").mkdir(parents=True)
        (lab / name / "AuxillaryData").mkdir()
        (lab / name / "MRA" / f"{name.replace('-', '')}-MRA.mha").touch()
        (lab / name / "AuxillaryData" / "VascularNetwork.tre").touch()
    patterns = ("*/MRA/*-MRA", "*/AuxillaryData/VascularNetwork")
    paired, faults = pair_by_patterns(lab, *patterns)
    assert faults == []
    assert [one.vessels for one in paired] == [lab / f"Normal-00{n}/AuxillaryData/VascularNetwork.tre" for n in (1, 2)]
    (lab / "Normal-002" / "MRA" / "again-MRA.mha").touch()
    faults = pair_by_patterns(lab, *patterns)[1]
    assert [fault.partition(": ")[0] for fault in faults] == [str(lab / "Normal-002/AuxillaryData/VascularNetwork.tre")]
