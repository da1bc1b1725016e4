"""What lies outside the folder that `import` was given is not taken, by whatever link a stranger has put into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.data.folders import files_below
from angiosynth.errors import InputError
from angiosynth.importing.pairing import pair_by_patterns, pair_by_table


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients, and beside the folder a store with one more."""
    _touch(tmp_path / "elsewhere", "p9/tof.nii", "p9/label.nii", "tof.nii", "label.nii")
    return _touch(tmp_path / "lab", "p1/tof.nii", "p1/label.nii", "p2/tof.nii")


def _link(name: str, target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)

    return make


def _links(**targets: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name, target in targets.items():
            _link(name.replace("__", "/"), target)(folder)

    return make


def _whole_path(folder: Path) -> None:
    _link("p9", str(folder.parent / "elsewhere/p9"))(folder)


def _foreign_store(folder: Path) -> None:
    _touch(folder.parent / "other/.git/annex", "x.nii")
    _link("p3/tof.nii", str(folder.parent / "other/.git/annex/x.nii"))(folder)


LINKS: dict[str, Callable[[Path], None]] = {
    "a patient's folder": _link("p9", "../elsewhere/p9"),
    "a patient's folder by its whole path": _whole_path,
    "a scan": _link("p3/tof.nii", "../../elsewhere/tof.nii"),
    "a label": _link("p2/label.nii", "../../elsewhere/label.nii"),
    "a folder above": _link("up", ".."),
    "the whole disk": _link("root", "/"),
    "a link to a link": _links(a="../elsewhere", b="a/p9"),
    "by a link above": _links(up="..", b="up/elsewhere/p9"),
    "the user's files": _link("p3/tof.nii", str(Path.home() / "tof.nii")),
    "a store that is not of this folder": _foreign_store,
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_leads_outside_is_a_fault(folder: Path, link: str) -> None:
    """Neighbours: to files and folders, relative and whole, through other links, to nothing, to the disk itself."""
    LINKS[link](folder)
    _, faults = pair_by_patterns(folder, "tof", "label")
    assert any(f"is a link that leads outside {folder}" in fault for fault in faults), faults
    assert all(path.parent.resolve().is_relative_to(folder) for path in files_below(folder, within=True))
    result = CliRunner().invoke(commands, ["import", str(folder), "--scan", "tof", "--vessels", "label", "--dry-run"])
    assert isinstance(result.exception, InputError)
    assert "leads outside" in str(result.exception)


@pytest.mark.parametrize("cell", ["../elsewhere/tof.nii", "p9/tof.nii", "x.nii", "p1/../../elsewhere/tof.nii", "/etc/hostname"])
def test_a_table_names_nothing_outside_either(folder: Path, cell: str) -> None:
    (folder / "p9").symlink_to("../elsewhere/p9")
    (folder / "x.nii").symlink_to("../elsewhere/tof.nii")
    table = folder.parent / "table.csv"
    table.write_text(f"scan\n{cell}\n")
    assert pair_by_table(folder, table) == ([], [f"{table}: line 2: scan {cell!r} is no file in {folder}"])


def test_links_within_the_folder_and_into_its_repositorys_store_are_followed(tmp_path: Path) -> None:
    """Neighbours: a folder and a file within, git-annex above, a submodule's annex, DVC's cache; the folder itself behind a link."""
    project = _touch(tmp_path / "project", ".git/annex/objects/a.nii", ".git/modules/m/annex/objects/b.nii", ".dvc/cache/files/md5/c")
    folder = _touch(project / "raw", "p1/tof.nii", "kept/p5/tof.nii")
    for name, target in (
        ("p2/tof.nii", "../../.git/annex/objects/a.nii"),
        ("p3/tof.nii", "../../.git/modules/m/annex/objects/b.nii"),
        ("p4/tof.nii", "../../.dvc/cache/files/md5/c"),
        ("p6/tof.nii", "../p1/tof.nii"),
    ):
        _link(name, target)(folder)
    (folder / "p7").symlink_to("kept/p5")
    (tmp_path / "by-a-link").symlink_to(folder)
    for place in (folder, tmp_path / "by-a-link"):
        paired, faults = pair_by_patterns(place, "tof")
        assert faults == []
        assert len(paired) == 6


def test_a_folder_of_nothing_but_links_outside_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "p1").symlink_to(folder / "p1")
    with pytest.raises(InputError, match="is a link that leads outside"):
        pair_by_patterns(tmp_path / "links", "tof")
