"""Which files of a lab's folder belong together."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from angiosynth.errors import InputError
from angiosynth.importing.pairing import Sources, not_taken, pair_by_patterns, pair_by_table


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "patterns", "expected"),
    [
        (  # one folder; endings and capitals do not count, hidden files do not either
            ["a_tof.nii.gz", "A_Vessels.NII", "b_tof.NII.GZ", "b_brain.nii.gz", "._a_tof.nii.gz", "a_tof.json"],
            ("*_tof", "*_vessels.nii.gz", "*_brain"),
            [("a_tof.nii.gz", "A_Vessels.NII", None), ("b_tof.NII.GZ", None, "b_brain.nii.gz")],
        ),
        (  # labels named after the scan's whole name; the scans' own pattern would match them too
            ["scan 01.nii", "scan 01_vessels.nii", "scan02.nii", "scan02_vessels.nii"],
            ("scan*", "*_vessels", ""),
            [("scan 01.nii", "scan 01_vessels.nii", None), ("scan02.nii", "scan02_vessels.nii", None)],
        ),
        (  # a folder a patient
            ["p1/tof.nii", "p1/label.nii", "p2/tof.nii", "p2/label.nii", "p2/brain.nii"],
            ("tof", "label", "brain"),
            [("p1/tof.nii", "p1/label.nii", None), ("p2/tof.nii", "p2/label.nii", "p2/brain.nii")],
        ),
        (  # a folder a kind, as nnU-Net has them
            ["imagesTr/x_0000.nii.gz", "imagesTr/y_0000.nii.gz", "labelsTr/x.nii.gz", "labelsTr/y.nii.gz"],
            ("imagesTr/*_0000", "labelsTr/*", ""),
            [("imagesTr/x_0000.nii.gz", "labelsTr/x.nii.gz", None), ("imagesTr/y_0000.nii.gz", "labelsTr/y.nii.gz", None)],
        ),
        (  # the same names in several folders; ** for some of them
            ["2023/a/s1.nii", "2023/a/s1-v.nii", "2024/s1.nii", "2024/s1-v.nii"],
            ("**/s?", "**/s?-v", ""),
            [("2023/a/s1.nii", "2023/a/s1-v.nii", None), ("2024/s1.nii", "2024/s1-v.nii", None)],
        ),
        (["a+(1)_tof.nii", "aa1_tof.nii"], ("a+(1)_tof", "", ""), [("a+(1)_tof.nii", None, None)]),  # no regular expression
    ],
)
def test_patterns(
    tmp_path: Path, names: list[str], patterns: tuple[str, str, str], expected: list[tuple[str, str | None, str | None]]
) -> None:
    paired, faults = pair_by_patterns(_touch(tmp_path, *names), *patterns)
    assert faults == []
    places = [
        Sources(scan, tmp_path / scan, tmp_path / vessels if vessels else None, tmp_path / brain if brain else None)
        for scan, vessels, brain in expected
    ]
    assert paired == places


@pytest.mark.parametrize(
    ("names", "patterns", "told"),
    [
        (["a_tof.nii", "a_tof.nii.gz"], ("*_tof", ""), ["2 files as scan of one patient"]),
        (["a.nii", "a_v.nii", "a_V.nii.gz"], ("*", "*_v"), ["2 files as vessels of one patient"]),
        (["a_tof.nii", "b_v.nii"], ("*_tof", "*_v"), ["b_v.nii: --vessels names it, but no scan"]),
        (["images/a.nii", "labels/a_v.nii"], ("*", "*_v"), ["labels/a_v.nii: --vessels names it"]),
        (["a.nii", "b.nii"], ("*_tof", ""), ["there are 2 volumes, such as a.nii, b.nii"]),
        (["a_tof.nii"], ("*_tof", "*_v"), ["no file is named as --vessels '*_v' says; there are 1 volumes, such as a_tof.nii"]),
        (["a_tof.nii", "a_v.mnc"], ("*_tof", "*_v"), ["no file is named as --vessels", "a_v.mnc: --vessels names it, and it is MINC"]),
        (["a_tof.nii", "b_tof.mgz"], ("*_tof", ""), ["b_tof.mgz: --scan names it, and it is FreeSurfer; convert it"]),
        (["a_tof.nii", "a_v.nii", "b_tof.nii", "b_v.nii.xz"], ("*_tof", "*_v"), ["b_v.nii.xz: --vessels names it, and it is NIfTI packed"]),
        (["a.nii", "a_v.nii", "a_v.mha", "x.zip"], ("*", "*_v"), []),  # there is NIfTI of that name; * names no archive
        (["s1.nii", "s2.nii", "s1_v.nii", "s2_v.mgz"], ("s*", "*_v"), ["s2_v.mgz: --vessels names it"]),  # and --scan too
    ],
)
def test_what_is_ambiguous_or_missing_is_reported(tmp_path: Path, names: list[str], patterns: tuple[str, str], told: list[str]) -> None:
    _, faults = pair_by_patterns(_touch(tmp_path, *names), *patterns)
    assert len(faults) == len(told)
    assert all(text in fault for text, fault in zip(told, faults, strict=True))
    assert not any("\n" in fault for fault in faults)


@pytest.mark.parametrize(
    ("names", "told"),
    [(["IM0001.dcm"], "DICOM: convert it first"), (["a.img"], "Analyze"), (["notes.txt"], "scans are files"), ([], "scans are")],
)
def test_a_folder_without_nifti_is_refused(tmp_path: Path, names: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        pair_by_patterns(_touch(tmp_path, *names), "*")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        pair_by_patterns(tmp_path / "none", "*")


def test_a_table(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "lab", "Müller tof.nii", "x/v.nii", "b.nii")
    table = tmp_path / "table.csv"
    table.write_text("\ufeffscan,vessels,brain\nMüller tof.nii,x/v.nii,\nb.nii,,\n", encoding="utf-8")  # as spreadsheets write it
    assert pair_by_table(folder, table) == (
        [Sources("Müller tof.nii", folder / "Müller tof.nii", folder / "x/v.nii"), Sources("b.nii", folder / "b.nii")],
        [],
    )


def test_a_tables_faults_are_reported_together(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "lab", "a.nii", "b.nii")
    _touch(tmp_path, "outside.nii")
    table = tmp_path / "table.csv"
    table.write_text("scan,vessels\na.nii,gone.nii\nb.nii,a.nii\n../outside.nii,\n,b.nii\n")
    faults = pair_by_table(folder, table)[1]
    told = ["line 2: vessels 'gone.nii' is no file", "line 3: a.nii is named in line 2", "line 4: scan '../outside.nii'", "line 5: scan ''"]
    assert all(text in fault for text, fault in zip(told, faults, strict=False))
    for text in ("vessel\na.nii\n", "patient,scan\n1,a.nii\n", "", "scan,vessel\na.nii,b.nii\n", "scan\n"):
        table.write_text(text)
        with pytest.raises(InputError, match="needs the columns scan"):
            pair_by_table(folder, table)


def test_what_is_nobodys_is_reported(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a_tof.nii", "a_v.nii", "a_v (1).nii", "a_tof.json", "old/b.nii", "c.zip", ".hidden.nii")
    (folder / "gone.nii").symlink_to("nowhere.nii")
    paired, faults = pair_by_patterns(folder, "*_tof", "*_v")
    assert faults == []
    assert not_taken(folder, paired) == [folder / name for name in ("a_v (1).nii", "c.zip", "gone.nii", "old/b.nii")]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "lab", "p2/tof.nii", "p2/label.nii", ".store/p1/tof.nii", ".store/p1/label.nii")
    store = folder / ".store"
    (folder / "p1").symlink_to(store / "p1")
    (folder / "p2/up").symlink_to(folder)
    (folder / "p3").mkdir()
    (folder / "p3/tof.nii").symlink_to(store / "p1/tof.nii")
    (folder / "p3/label.nii").symlink_to(".git/annex/objects/x.nii")  # not fetched
    paired, faults = pair_by_patterns(folder, "tof", "label")
    assert faults == []
    assert [(sources.name, sources.vessels) for sources in paired] == [(f"p{n}/tof.nii", folder / f"p{n}/label.nii") for n in (1, 2, 3)]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_both_unicode_forms_of_a_name_are_one(tmp_path: Path, form: Literal["NFC", "NFD"], typed: Literal["NFC", "NFD"]) -> None:
    scan, label, cell = (unicodedata.normalize(form, f"Mu\u0308ller_{kind}.nii") for kind in ("tof", "v", "tof"))
    folder = _touch(tmp_path / "lab", scan, label)
    expected = [Sources(scan, folder / scan, folder / label)]
    assert pair_by_patterns(folder, unicodedata.normalize(typed, "Mu\u0308*_tof"), unicodedata.normalize(typed, "Mu\u0308*_V")) == (
        expected,
        [],
    )
    table = tmp_path / "table.csv"
    table.write_text(f"scan,vessels\n{unicodedata.normalize(typed, cell)},{label}\n", encoding="utf-8")
    assert pair_by_table(folder, table) == (expected, [])


def test_names_that_are_no_utf8_pair_by_patterns_and_by_table(tmp_path: Path) -> None:
    scan, label = (os.fsdecode(name) for name in (b"J\xfcrgen_tof.nii", b"J\xfcrgen_v.nii"))
    folder = _touch(tmp_path / "lab", scan, label)
    expected = [Sources(scan, folder / scan, folder / label)]
    assert pair_by_patterns(folder, "*_tof", "*_v") == (expected, [])
    (tmp_path / "table.csv").write_bytes(b"scan,vessels\nJ\xfcrgen_tof.nii,J\xfcrgen_v.nii\n")
    assert pair_by_table(folder, tmp_path / "table.csv") == (expected, [])


SAVED = {
    "as it was": "scan,vessels\na.nii,a_v.nii\nb.nii,\n",
    "by a spreadsheet": "\ufeffscan;vessels\r\na.nii;a_v.nii\r\n;\r\nb.nii;\r\n",
    "with tabs": "scan\tvessels\na.nii\ta_v.nii\nb.nii\t\n",
    "with capitals and spaces": "Scan, Vessels ,\n\na.nii,a_v.nii\n\nb.nii,,\n",
    "with paths": "scan,vessels\n./a.nii,x/../a_v.nii\nb.nii,\n",
}


@pytest.mark.parametrize("how", SAVED)
def test_a_table_is_read_however_it_was_saved(tmp_path: Path, how: str) -> None:
    folder = _touch(tmp_path / "lab", "a.nii", "a_v.nii", "b.nii")
    (tmp_path / "table.csv").write_text(SAVED[how], encoding="utf-8", newline="")
    expected = [Sources("a.nii", folder / "a.nii", folder / "a_v.nii"), Sources("b.nii", folder / "b.nii")]
    assert pair_by_table(folder, tmp_path / "table.csv") == (expected, [])


def test_lines_of_a_table_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "lab", "a.nii")
    (tmp_path / "table.csv").write_text("scan\n\n\na.nii\n\ngone.nii\n")
    assert pair_by_table(folder, tmp_path / "table.csv")[1] == [f"{tmp_path / 'table.csv'}: line 6: scan 'gone.nii' is no file in {folder}"]
    (tmp_path / "table.csv").write_text("scan,vessels\na.nii,,b.nii\n")
    with pytest.raises(InputError, match="line 2 has more cells than the 2 columns"):
        pair_by_table(folder, tmp_path / "table.csv")


def test_a_table_may_name_links_into_an_annex(tmp_path: Path) -> None:
    """Their files lie beside the folder that is imported, as of every data set that git-annex keeps."""
    store = _touch(tmp_path / "data/.git/annex", "a.nii", "a_v.nii")
    folder = tmp_path / "data/raw"
    folder.mkdir()
    for name in ("a.nii", "a_v.nii"):
        (folder / name).symlink_to(store / name)
    (tmp_path / "table.csv").write_text("scan,vessels\na.nii,a_v.nii\n")
    assert pair_by_table(folder, tmp_path / "table.csv") == ([Sources("a.nii", folder / "a.nii", folder / "a_v.nii")], [])


@pytest.mark.parametrize("ending", [".nii.gz.dvc", ".nii.gz.part", ".nii.crdownload", ".mnc", ".img.gz", ".nii.gz.gpg"])
def test_a_label_in_disguise_is_no_missing_one(tmp_path: Path, ending: str) -> None:
    folder = _touch(tmp_path, "a_tof.nii", "a_v.nii", "b_tof.nii", f"b_v{ending}")
    (fault,) = pair_by_patterns(folder, "*_tof", "*_v")[1]
    assert fault.startswith(f"{folder}/b_v{ending}: --vessels names it, and it is ")


def test_a_patients_folder_that_is_a_lost_link_is_a_fault(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "p1/tof.nii")
    (folder / "p2").symlink_to("gone")
    (fault,) = pair_by_patterns(folder, "tof")[1]
    assert fault.startswith(f"{folder}/p2: is a link that leads nowhere")


def test_a_leading_dot_of_a_pattern_changes_nothing(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a_tof.nii", "a_v.nii")
    assert pair_by_patterns(folder, "./*_tof", "*_v") == pair_by_patterns(folder, "*_tof", "*_v")
