"""A lab's files into BIDS: same voxels, no names, all faults at once, nothing half-written."""

from __future__ import annotations

import gzip
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.checks import check_patients
from angiosynth.data.geometry import GridSource
from angiosynth.data.nifti import load_mask, load_volume, read_volume
from angiosynth.errors import InputError
from angiosynth.importing import importing
from angiosynth.importing.import_checks import Rules
from angiosynth.importing.importing import clean_scan, import_folder
from angiosynth.importing.pairing import pair_by_patterns
from angiosynth.importing.pseudonyms import draw_numbers
from tests.factories import Array, affine_of, make_arrays, nib
from tests.importing.lab import BRAIN, LABEL, NAME, SCAN2, SHAPE, call_import, save, turned


def test_the_cohort_finds_the_same_voxels_and_no_name(lab: Path, tmp_path: Path) -> None:
    target, names = tmp_path / "raw" / "site-a", tmp_path / "names.csv"
    code, output = call_import(lab, "-o", str(target), "--names", str(names))
    assert code == 0, output
    assert "3 patients, 2 with a label" in output
    facts, faults = check_patients(find_patients(target))
    assert faults == []
    assert [(fact.id, fact.shape, fact.masked) for fact in facts] == [(f"sub-00{n}", SHAPE, True) for n in (1, 2, 3)]
    number = {line.split(",")[1]: line.split(",")[0] for line in names.read_text().splitlines()[1:]}
    for seed, name in enumerate(("scan 01.nii.gz", "SCAN02.NII", "later/scan03.nii.gz"), start=1):
        stem = target / number[name] / "anat" / number[name]
        scan, brain, label = make_arrays(SHAPE, seed)
        written = load_volume(Path(f"{stem}_angio.nii.gz"))
        np.testing.assert_array_equal(written.volume.array, scan * 0.5 + 3 if seed == 2 else scan)
        assert nib.load(f"{stem}_angio.nii.gz").dataobj.slope == (0.5 if seed == 2 else 1.0)
        np.testing.assert_allclose(written.volume.affine, affine_of(), atol=1e-6)
        assert written.orientation == ("LPS" if seed == 1 else "RAS")  # the scan's own
        masks = {"brain": brain, "vessel": label} if seed < 3 else {"brain": brain}
        for kind, mask in masks.items():
            np.testing.assert_array_equal(load_mask(Path(f"{stem}_desc-{kind}_mask.nii.gz")).volume.array, mask.astype(bool))
    for path in target.rglob("*"):
        assert "scan" not in path.name.lower()
        data = path.read_bytes() if path.is_file() else b""
        assert NAME not in (gzip.decompress(data) if path.suffix == ".gz" else data)
        assert path.is_dir() or "Müller".encode() not in data
    assert stat.S_IMODE(names.stat().st_mode) == 0o600


def test_numbers_stay_when_scans_come_and_go(lab: Path, tmp_path: Path) -> None:
    target, names = tmp_path / "site", tmp_path / "names.csv"
    words = ("-o", str(target), "--names", str(names))
    assert call_import(lab, *words)[0] == 0
    before = names.read_text().splitlines()
    gone = next(line for line in before if line.split(",")[1] == "SCAN02.NII").split(",")[0]
    for path in ("SCAN02.NII", "scan02_VESSELS.NII.GZ", "scan02_brain.nii.gz"):
        (lab / path).unlink()
    save(lab / "scan00.nii", make_arrays(SHAPE, 5)[0], affine_of())
    save(lab / "scan00_brain.nii", make_arrays(SHAPE, 5)[1], affine_of())
    assert call_import(lab, *words)[0] == 0
    after = {line.split(",")[1]: line.split(",")[0] for line in names.read_text().splitlines()[1:]}
    assert after["scan00.nii"] == "sub-004"
    assert after["SCAN02.NII"] == gone
    assert [path.name for path in sorted(target.glob("sub-*"))] == sorted({"sub-001", "sub-002", "sub-003", "sub-004"} - {gone})


def test_numbers_do_not_follow_the_alphabet(tmp_path: Path) -> None:
    wanted = [f"{n:03d}" for n in range(200)]
    numbers = draw_numbers(tmp_path / "none.csv", wanted)
    assert sorted(numbers.values()) == [f"sub-{n:03d}" for n in range(1, 201)]
    assert [numbers[name] for name in wanted] != sorted(numbers.values())


def test_a_dry_run_tells_all_and_writes_nothing(lab: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, output = call_import(lab, "--dry-run")
    assert code == 0
    assert sorted(tmp_path.rglob("*")) == before
    lines = output.splitlines()
    result = ("SCAN02.NII", "scan02_VESSELS.NII.GZ", "scan02_brain.nii.gz", "20 x 24 x 5", "0.8 x 0.9 x 1.1", "RAS")
    assert re.split(r"  +", lines[1])[:6] == list(result)
    share = make_arrays(SHAPE, 2)[2].sum() / make_arrays(SHAPE, 2)[1].sum()
    assert lines[1].endswith(f"{share:.2%}")
    assert "no label: can be segmented, or held out for the privacy audit, not learnt from" in lines[2]
    assert lines[-1] == "3 patients, 2 with a label; nothing written"


def _two_classes(label: Array) -> Array:
    return np.asarray(label * (1 + (np.indices(label.shape)[0] > 10)))


FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "classes": ("has 2 classes, 1, 2; say which", lambda lab: save(lab / LABEL, _two_classes(make_arrays(SHAPE, 2)[2]), affine_of())),
    "probabilities": ("values between whole", lambda lab: save(lab / LABEL, make_arrays(SHAPE, 2)[2] * 0.7, affine_of(), "<f4")),
    "empty": ("is empty", lambda lab: save(lab / LABEL, np.zeros(SHAPE), affine_of())),
    "affine": ("--trust-shape takes it voxel", lambda lab: save(lab / LABEL, make_arrays(SHAPE, 2)[2], np.eye(4))),
    "shape": ("shape (20, 24, 4) is not", lambda lab: save(lab / LABEL, make_arrays(SHAPE, 2)[2][..., :4], affine_of())),
    "outside": ("lie outside the brain mask", lambda lab: save(lab / BRAIN, 1 - make_arrays(SHAPE, 2)[1], affine_of())),
    "no brain": ("no brain mask; make one", lambda lab: (lab / BRAIN).unlink()),
    "same scan": ("the same scan as", lambda lab: save(lab / SCAN2, *turned(make_arrays(SHAPE, 1)[0], "PIR"), kind="<f4")),
    "same label": ("the same label as", lambda lab: save(lab / LABEL, make_arrays(SHAPE, 1)[2], affine_of())),
    "four axes": ("has 4 axes", lambda lab: save(lab / SCAN2, np.stack([make_arrays(SHAPE, 2)[0]] * 2, -1), affine_of())),
    "flat": ("every voxel has the same", lambda lab: save(lab / SCAN2, np.ones(SHAPE), affine_of())),
    "cut": ("cut short", lambda lab: (lab / LABEL).write_bytes((lab / LABEL).read_bytes()[:-30])),
    "no spacing": ("voxel size", lambda lab: (lab / SCAN2).write_bytes((data := (lab / SCAN2).read_bytes())[:80] + bytes(12) + data[92:])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_nothing_is_written(lab: Path, tmp_path: Path, fault: str) -> None:
    output, spoil = FAULTS[fault]
    spoil(lab)
    before = sorted(tmp_path.rglob("*"))
    code, text = call_import(lab, "-o", str(tmp_path / "site"), "--names", str(tmp_path / "names.csv"))
    assert code == 2
    assert output in text
    assert len(text.splitlines()) == 2 + (fault in ("same scan", "same label") and "outside" in text)
    assert sorted(tmp_path.rglob("*")) == before


def test_all_faults_at_once(lab: Path, tmp_path: Path) -> None:
    FAULTS["classes"][1](lab)
    FAULTS["no brain"][1](lab)
    (lab / "later/scan03_brain.nii.gz").unlink()
    code, text = call_import(lab, "--dry-run")
    assert code == 2
    assert text.splitlines()[0] == "import: 3 faults found, nothing written; mend and run again"
    assert len(text.splitlines()) == 4


def test_options_for_what_files_leave_open(lab: Path, tmp_path: Path) -> None:
    scan, brain, label = make_arrays(SHAPE, 2)
    classes = _two_classes(label)
    save(lab / LABEL, classes, np.eye(4))
    save(lab / "scan 01_vessels.nii.gz", make_arrays(SHAPE, 1)[2] * 2, affine_of())
    (lab / BRAIN).unlink()
    stripped = np.asarray(scan * brain)
    stripped[10, 12, 2] = 0  # a hole within
    save(lab / SCAN2, stripped, affine_of())
    for values, expected in (("2", classes == 2), ("1,2", classes > 0), ("all", classes > 0)):
        words = ("--vessel-values", values, "--without-brain", "nonzero", "--trust-shape", "--names", str(tmp_path / "names.csv"))
        code, output = call_import(lab, "-o", str(tmp_path / "site"), *words)
        assert code == 0, output
        assert "vessels: affine differs, taken voxel by voxel" in output
        number = next(line for line in (tmp_path / "names.csv").read_text().splitlines() if SCAN2 in line).split(",")[0]
        stem = tmp_path / "site" / number / "anat" / number
        np.testing.assert_array_equal(load_mask(Path(f"{stem}_desc-vessel_mask.nii.gz")).volume.array, expected)
        np.testing.assert_array_equal(load_mask(Path(f"{stem}_desc-brain_mask.nii.gz")).volume.array, brain.astype(bool))
    code, output = call_import(lab, "--dry-run", "--vessel-values", "7", "--trust-shape", "--without-brain", "whole")
    assert "has none of the classes --vessel-values names, but 1, 2" in output
    code, output = call_import(lab, "--dry-run", "--vessel-values", "all", "--trust-shape", "--without-brain", "whole")
    assert "no brain mask: whole volume" in output


def test_a_head_with_its_skull_is_not_taken_for_stripped(lab: Path) -> None:
    (lab / BRAIN).unlink()
    code, output = call_import(lab, "--dry-run", "--without-brain", "nonzero")
    assert code == 2
    assert "its skull is not stripped" in output


def test_places_that_would_lose_or_mix_files_are_refused(lab: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    cases = {
        "no import has made it": ("-o", str(other)),
        "holds the files that are to be imported": ("-o", str(tmp_path)),
        "would lie among the scans": ("-o", str(tmp_path / "site"), "--names", str(tmp_path / "site" / "names.csv")),
        "either --dry-run": (),
        "write whole numbers": ("--dry-run", "--vessel-values", "one"),
    }
    for output, words in cases.items():
        code, text = call_import(lab, *words)
        assert (code, output in text, "\n" in text) == (2, True, False), text
    assert list(other.iterdir()) == [other / "thesis.txt"]
    assert not (tmp_path / "site").exists()


def test_a_failure_midway_leaves_the_former_folder(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, names = tmp_path / "site", tmp_path / "names.csv"
    paired, _ = pair_by_patterns(lab, "scan*", "*_vessels", "*_brain")
    import_folder(paired, Rules(), target, names)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written = []

    def fails(path: Path, prefer: GridSource | None, series: int | None) -> bytes:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return clean_scan(path, prefer, series)

    monkeypatch.setattr(importing, "clean_scan", fails)
    with pytest.raises(InputError, match="No space left"):
        import_folder(paired, Rules(), target, names)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_table_of_names_is_refused(lab: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    for text in ("a,b\n1,2\n", "patient,scan\nsub-001,a\nsub-001,b\n", "patient,scan\n../x,a\n"):
        names.write_text(text)
        code, output = call_import(lab, "-o", str(tmp_path / "site"), "--names", str(names))
        assert (code, "damaged" in output) == (2, True)
        assert names.read_text() == text


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    scan = make_arrays(SHAPE, 4)[0]
    image = nib.Nifti2Image(scan, affine_of())
    image.header["descrip"] = NAME
    nib.save(image, tmp_path / "two.nii")
    (tmp_path / "clean.nii").write_bytes(clean_scan(tmp_path / "two.nii"))
    assert NAME not in (tmp_path / "clean.nii").read_bytes()
    np.testing.assert_array_equal(read_volume(tmp_path / "clean.nii").array, scan)
    np.testing.assert_allclose(nib.load(tmp_path / "clean.nii").affine, affine_of(), atol=1e-6)


@pytest.mark.long
def test_real_scans(realdata: Path, tmp_path: Path) -> None:
    """A BIDS folder goes through as well, its voxels unchanged."""
    sources = sorted(path for path in realdata.glob("*/sub-*") if path.is_dir())[:1]
    (tmp_path / "lab").mkdir()
    for path in sources[0].glob("anat/*"):
        shutil.copy(path, tmp_path / "lab")
    paired, faults = pair_by_patterns(tmp_path / "lab", "*_angio", "*_desc-vessel_mask", "*_desc-brain_mask")
    assert faults == []
    import_folder(paired, Rules(), tmp_path / "site", tmp_path / "names.csv")
    written = load_volume(tmp_path / "site/sub-001/anat/sub-001_angio.nii.gz").volume
    given = load_volume(paired[0].scan).volume
    np.testing.assert_array_equal(written.array, given.array)
    np.testing.assert_array_equal(written.affine, given.affine)
    assert paired[0].vessels is not None
    label = load_mask(tmp_path / "site/sub-001/anat/sub-001_desc-vessel_mask.nii.gz").volume.array
    np.testing.assert_array_equal(label, load_mask(paired[0].vessels).volume.array)
