"""Which files of a lab's folder belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.data.pairing import Sources, pair_by_patterns, pair_by_table
from angiosynth.errors import InputError


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
        (["a.nii", "b.nii"], ("*_tof", ""), ["there are 2 NIfTI files, such as a.nii, b.nii"]),
    ],
)
def test_what_is_ambiguous_or_missing_is_told(tmp_path: Path, names: list[str], patterns: tuple[str, str], told: list[str]) -> None:
    _, faults = pair_by_patterns(_touch(tmp_path, *names), *patterns)
    assert len(faults) == len(told)
    assert all(text in fault for text, fault in zip(told, faults, strict=True))
    assert not any("\n" in fault for fault in faults)


@pytest.mark.parametrize(
    ("names", "told"),
    [(["IM0001.dcm"], "DICOM: convert it first"), (["a.hdr", "a.img"], "Analyze"), (["notes.txt"], "scans are files"), ([], "scans are")],
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


def test_a_tables_faults_are_told_together(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "lab", "a.nii", "b.nii")
    _touch(tmp_path, "outside.nii")
    table = tmp_path / "table.csv"
    table.write_text("scan,vessels\na.nii,gone.nii\nb.nii,a.nii\n../outside.nii,\n,b.nii\n")
    faults = pair_by_table(folder, table)[1]
    told = ["line 2: vessels 'gone.nii' is no file", "line 3: a.nii is named in line 2", "line 4: scan '../outside.nii'", "line 5: scan ''"]
    assert all(text in fault for text, fault in zip(told, faults, strict=False))
    for text in ("scan;vessels\na.nii;b.nii\n", "patient,scan\n1,a.nii\n", ""):
        table.write_text(text)
        with pytest.raises(InputError, match="needs the columns scan, vessels, brain"):
            pair_by_table(folder, table)
