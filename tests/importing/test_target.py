"""An import never loses what a user put into its folder, nor into the table of names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.importing.import_checks import Rules
from angiosynth.importing.importing import import_folder
from angiosynth.importing.pairing import Sources, pair_by_patterns
from angiosynth.importing.target import CHECKSUMS, DESCRIPTION
from angiosynth.runtime.output import read_json, write_json
from tests.factories import make_arrays, write_nifti


@pytest.fixture
def paired(tmp_path: Path) -> list[Sources]:
    for index in range(2):
        for ending, array in zip(("_tof", "_brain", "_vessels"), make_arrays((20, 24, 5), index), strict=True):
            write_nifti(tmp_path / "lab" / f"p{index}{ending}.nii.gz", array)
    result, faults = pair_by_patterns(tmp_path / "lab", "*_tof", "*_vessels", "*_brain")
    assert not faults
    return result


def _import(paired: list[Sources], tmp_path: Path, names: str = "names.csv") -> Path:
    import_folder(paired, Rules(), tmp_path / "site-a", tmp_path / names)
    return tmp_path / "site-a"


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _add(name: str) -> Callable[[Path], str]:
    def add(folder: Path) -> str:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("hours of work")
        return name

    return add


def _correct(ending: str) -> Callable[[Path], str]:
    def correct(folder: Path) -> str:
        path = folder / f"sub-001/anat/sub-001{ending}"
        path.write_bytes(path.read_bytes() + b"corrected")
        return str(path.relative_to(folder))

    return correct


def _authors(folder: Path) -> str:
    write_json(folder / DESCRIPTION, {**read_json(folder / DESCRIPTION), "Authors": ["A. Lab"]})
    return DESCRIPTION


def _link(folder: Path) -> str:
    (folder / "derivatives").symlink_to(folder.parent / "lab")
    return "derivatives"


# Neighbours: derivatives, files at the top, beside the scans, hidden, of a patient of one's own; labels, masks and scans corrected in
# place; the description with more in it; a folder that is a link.
USERS: dict[str, Callable[[Path], str]] = {
    "derivatives": _add("derivatives/manual/sub-001/anat/sub-001_desc-vessel_mask.nii.gz"),
    "participants": _add("participants.tsv"),
    "beside": _add("sub-001/anat/sub-001_desc-manual_mask.nii.gz"),
    "hidden": _add(".bidsignore"),
    "patient": _add("sub-mine/anat/sub-mine_angio.nii.gz"),
    "label": _correct("_desc-vessel_mask.nii.gz"),
    "mask": _correct("_desc-brain_mask.nii.gz"),
    "scan": _correct("_angio.nii.gz"),
    "description": _authors,
    "link": _link,
}


@pytest.mark.parametrize("what", USERS)
def test_what_is_a_users_is_named_and_kept(tmp_path: Path, paired: list[Sources], what: str) -> None:
    folder = _import(paired, tmp_path)
    name = USERS[what](folder)
    before = _contents(folder)
    with pytest.raises(InputError) as caught:
        _import(paired, tmp_path)
    assert str(caught.value).startswith(f"{folder}: importing again would remove")
    assert f": {name}; move that out of the folder" in str(caught.value)
    assert _contents(folder) == before


def test_many_files_are_counted(tmp_path: Path, paired: list[Sources]) -> None:
    folder = _import(paired, tmp_path)
    for index in range(9):
        _add(f"derivatives/{index}.nii.gz")(folder)
    with pytest.raises(InputError, match=r"derivatives/0\.nii\.gz, .*derivatives/3\.nii\.gz and 5 more; move"):
        _import(paired, tmp_path)


def test_what_comes_while_scans_are_read_is_kept(tmp_path: Path, paired: list[Sources], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _import(paired, tmp_path)
    add = _add("derivatives/late.nii.gz")
    monkeypatch.setattr("angiosynth.importing.importing.describe", lambda *_: add(folder))
    with pytest.raises(InputError, match=r"derivatives/late\.nii\.gz; move that"):
        _import(paired, tmp_path)
    assert (folder / "derivatives/late.nii.gz").read_text() == "hours of work"


# Neighbours: nothing was added; a file manager's; files that DVC has made links into its cache, and links whose cache is gone.
@pytest.mark.parametrize("state", ["untouched", "file manager", "links", "broken links"])
def test_an_import_that_nobody_touched_is_replaced(tmp_path: Path, paired: list[Sources], state: str) -> None:
    folder = _import(paired, tmp_path)
    before = _contents(folder)
    if state == "file manager":
        for name in (".DS_Store", "sub-001/Thumbs.db", "sub-001/anat/._sub-001_angio.nii.gz"):
            (folder / name).write_bytes(b"\0")
    if state.endswith("links"):
        (tmp_path / "cache").mkdir()
        for number, name in enumerate(before):
            os.replace(folder / name, tmp_path / "cache" / str(number))
            (folder / name).symlink_to(tmp_path / "cache" / str(number))
            if state == "broken links" and name != DESCRIPTION:
                (tmp_path / "cache" / str(number)).unlink()
    assert _contents(_import(paired, tmp_path)) == before


def test_an_import_without_checksums_is_judged_by_names(tmp_path: Path, paired: list[Sources]) -> None:
    folder = _import(paired, tmp_path)
    described = read_json(folder / DESCRIPTION)
    assert sorted(described.pop(CHECKSUMS)) == sorted(set(_contents(folder)) - {DESCRIPTION})
    write_json(folder / DESCRIPTION, described)
    _import(paired, tmp_path)
    write_json(folder / DESCRIPTION, described)
    _add("derivatives/a.nii.gz")(folder)
    with pytest.raises(InputError, match=r"derivatives/a\.nii\.gz; move"):
        _import(paired, tmp_path)


# Neighbours: a column more, another table, a text of one line, something that is no text; a folder.
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"patient,scan,vessels,brain,age\nsub-001,p0,,,71\n", "further columns that would be lost, age"),
        (b"age,weight\n71,80\n", "needs the columns patient, scan"),
        (b"call Mrs Miller\n", "needs the columns patient, scan"),
        (b"\xff\xfe\x00", "needs the columns patient, scan"),
        (None, "is a folder"),
    ],
)
def test_a_file_that_is_no_table_of_names_is_left(tmp_path: Path, paired: list[Sources], content: bytes | None, line: str) -> None:
    names = tmp_path / "names.csv"
    names.mkdir() if content is None else names.write_bytes(content)
    with pytest.raises(InputError, match=line):
        _import(paired, tmp_path)
    assert names.is_dir() if content is None else names.read_bytes() == content
    assert not (tmp_path / "site-a").exists()


def test_a_table_of_names_that_is_kept_elsewhere_stays_there(tmp_path: Path, paired: list[Sources]) -> None:
    (tmp_path / "safe").mkdir()
    (tmp_path / "safe" / "names.csv").touch()
    (tmp_path / "names.csv").symlink_to("safe/names.csv")
    _import(paired, tmp_path)
    assert (tmp_path / "names.csv").is_symlink()
    assert (tmp_path / "safe" / "names.csv").read_text().startswith("patient,scan,vessels,brain\nsub-001,")
    (tmp_path / "safe" / "names.csv").rename(tmp_path / "safe" / "moved.csv")
    with pytest.raises(InputError, match=r"names\.csv: is a link to safe/names\.csv, where no file is"):
        _import(paired, tmp_path)
    assert not (tmp_path / "safe" / "names.csv").exists()


def test_a_device_is_no_table_of_names(tmp_path: Path, paired: list[Sources]) -> None:
    for name in (Path("/dev/null"), Path("/dev/full")):
        before = name.stat().st_mode
        with pytest.raises(InputError, match="is no ordinary file"):
            import_folder(paired, Rules(), tmp_path / "site", name)
        assert name.stat().st_mode == before


def test_a_folder_that_cannot_be_looked_into_is_kept(tmp_path: Path, paired: list[Sources], monkeypatch: pytest.MonkeyPatch) -> None:
    import_folder(paired, Rules(), tmp_path / "site", tmp_path / "names.csv")
    closed = tmp_path / "site" / "derivatives"
    closed.mkdir()
    real = os.scandir

    def scandir(place: str | Path = ".") -> object:  # root may read everything
        if Path(place) == closed:
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="derivatives: cannot be read"):
        import_folder(paired, Rules(), tmp_path / "site", tmp_path / "names.csv")
    assert closed.is_dir()
