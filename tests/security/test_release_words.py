"""No name that a patient's files had in the lab leaves in a package: not in its name, not in a text that somebody types, not in a file."""

from __future__ import annotations

import json
import shutil
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.importing.name_words import NOBODYS, forms_in, name_words, plain_word
from angiosynth.importing.originals import KEY, find_originals, keep_words, words_file
from angiosynth.privacy.shared import shared_audit
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.release import package
from angiosynth.release.formats import Format
from angiosynth.release.identifiers import Identifiers, refuse_identifiers, refuse_originals
from angiosynth.runtime.output import write_json
from angiosynth.settings import load_settings
from angiosynth.stages.audit import audit_digest, write_shared
from tests.audits import audit_tree
from tests.factories import affine_of, make_arrays, one_site, tiny_patches, tiny_tree
from tests.importing.lab import save

PEOPLE = ("Müller_Anna", "ŁukaszWójcik", "19431207_Li")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's project as it is before a release: scans imported, a set and its audit there."""
    folder = tmp_path_factory.mktemp("lab")
    for number, name in enumerate(PEOPLE):
        scan, brain, label = make_arrays((20, 24, 5), number + 1)
        for ending, array in (("tof", scan), ("vessels", label), ("brain", brain)):
            save(folder / "scans" / f"{name}_{ending}.nii.gz", array, affine_of())
    home = folder / "project"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        words = ("--scan", "*_tof", "--vessels", "*_vessels", "--brain", "*_brain", "-o", "data/raw/site-a")
        done = CliRunner().invoke(commands, ["import", "../scans", *words])
        assert done.exit_code == 0, done.output
        tree = tiny_tree()
        tree["cohort"] = one_site("data/raw/site-a")
        (home / "params.yaml").write_text(yaml.safe_dump(tree))
        settings, place = load_settings(Path("params.yaml")), Workspace()
        patients = sorted(path.name for path in Path("data/raw/site-a").glob("sub-*"))
        write_json(
            place.splits / "site-a.json", {"train": patients[:1], "validation": patients[1:2], "test": patients[2:], "unlabelled": []}
        )
        write_json(place.cohort("site-a"), {"patients": [{"id": name, "spacing_mm": [0.3, 0.3, 0.6]} for name in patients]})
        pairs = tiny_patches()
        place.synthetic("wgan-gp").mkdir(parents=True)
        np.save(place.synthetic("wgan-gp") / "image.npy", pairs.image)
        np.save(place.synthetic("wgan-gp") / "label.npy", pairs.label)
        facts = {"model": "wgan-gp", "n": 12, "size": 16, "seed": 1, "label_threshold": 0.0, "vessel_fraction": 0.2}
        write_json(place.synthetic("wgan-gp") / "card.json", {**facts, "intensity": pairs.meta["intensity"]})
        audit = {**audit_tree(), "set_digest": data_digest(place.synthetic("wgan-gp")), "audit_digest": audit_digest(settings)}
        write_json(place.audit("wgan-gp") / "audit.json", audit)
        write_shared(shared_audit(audit), place.audit("wgan-gp") / "shared")
    return home


def _release(home: Path, monkeypatch: pytest.MonkeyPatch, name: str = "set-1", *words: str, **fields: str) -> str:
    """What the command says; the package is gone afterwards."""
    monkeypatch.chdir(home)
    tree = yaml.safe_load((home / "params.yaml").read_text())
    tree["release"] = fields
    (home / "other.yaml").write_text(yaml.safe_dump(tree))
    done = CliRunner().invoke(commands, ["release", name, "--model", "wgan-gp", "--params", "other.yaml", *words])
    there = (home / "releases" / name).exists()
    shutil.rmtree(home / "releases", ignore_errors=True)
    if isinstance(done.exception, InputError):
        assert not there
        return str(done.exception)
    assert done.exit_code == 0, done.output
    assert there
    return done.output


NFD = unicodedata.normalize("NFD", "Müller")
NAMES = [
    "Müller",
    "MÜLLER",
    NFD,
    "Mueller",
    "Muller",
    "müller",
    "Anna",
    "Anna Müller",
    "Müller, Anna",
    "Frau A. Mueller",
    "AnnaMüller",
    "annamueller",
    "muelleranna",
    "Müller/Anna",
    "Łukasz",
    "Lukasz",
    "WÓJCIK",
    "wojcik",
    "Wójcik Łukasz",
    "lukaszwojcik",
    "19431207",
    "Li",
    "Dr. Li",
    "MÜLLER^ANNA",
]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_found_in_whatever_form_it_is_typed(text: str, project: Path) -> None:
    """Neighbours: cases, composed and not, umlauts spelt out or bare, each word alone, any order, joined, split, a date of birth."""
    identifiers = Identifiers(originals=find_originals(project, [project / "data/raw/site-a"]))
    with pytest.raises(InputError, match=r"^release\.creator: holds a word of the name that sub-00\d had before") as caught:
        refuse_originals({"--override": "a test", "release.creator": f"asked for by {text} of ward 3"}, identifiers)
    for word in ("müller", "mueller", "anna", "wójcik", "wojcik", "19431207"):
        assert word not in str(caught.value).replace(str(project), "").casefold(), "a message goes into logs"


@pytest.mark.parametrize("text", ["Frau Müller, Anna", "19431207"])
def test_the_command_refuses_a_name_in_each_text_in_one_line(text: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told, what in (
        (_release(project, monkeypatch, "set-1", "--override", f"asked for by {text} of ward 3"), "--override"),
        (_release(project, monkeypatch, creator=f"the lab, {text}"), "release.creator"),
    ):
        assert told.startswith(f"{what}: holds a word of the name that sub-00")
        assert "names/site-a.csv" in told
        assert "\n" not in told


@pytest.mark.parametrize("name", ["Anna", "mueller-1", "set-MULLER", "lukasz_wojcik", "19431207", "AnnaMueller", "set.li.2", "annamueller"])
def test_a_package_is_not_called_like_a_patient(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _release(project, monkeypatch, name)
    assert told.startswith("the name of the package: holds a word of the name that sub-00")
    assert name not in told


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("licence", "as Anna Müller wants"),
        ("url", "https://lab.example/wojcik"),
        ("url", "https://lab.example/m%C3%BCller"),
        ("url", "https://xn--mller-kva.example"),
        ("licence", "https://anna.example/x"),
    ],
)
def test_a_name_is_refused_in_licence_and_address(field: str, value: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _release(project, monkeypatch, **{field: value}).startswith(f"release.{field}: holds a word of")


@pytest.mark.parametrize(
    "words", ["the set for Annabel and Mullers in 2026", "vessels of the brain, TOF scan 3", "Hannah's lab", "ward 1943"]
)
def test_other_words_leave(words: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: longer words that hold a name, words of imaging that stand in files' names, years, numbers."""
    assert "wgan-gp set" in _release(project, monkeypatch, creator=words)


def test_a_word_is_let_through_by_name_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--allow-word" in _release(project, monkeypatch, creator="Klinik Anna Müller")
    assert "holds a word" in _release(project, monkeypatch, "set-1", "--allow-word", "Anna", creator="Klinik Anna Müller")
    assert "wgan-gp set" in _release(
        project, monkeypatch, "set-1", "--allow-word", "anna", "--allow-word", "MUELLER", creator="Klinik Anna Müller"
    )


@pytest.mark.parametrize(
    "file", ["README.md", "card.json", "croissant.json", "load.py", "audit/audit.json", "audit/index.html", "SHA256SUMS"]
)
def test_every_text_of_a_package_is_searched(file: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name comes from is not asked: here it stands in a file as it was made."""

    def as_made(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        names = json.dumps("Anna Mueller") if file.endswith(".json") else "M&uuml;ller" if file.endswith(".html") else "x Mueller"
        (folder / file).write_text(text.rstrip()[:-1] + f', "z": {names}}}' if file.endswith(".json") else f"{text}\n# {names}\n")

    def planted(folder: Path, identifiers: Identifiers, formats: Mapping[str, Format]) -> None:
        as_made(folder)
        refuse_identifiers(folder, identifiers, formats)

    monkeypatch.setattr(package, "refuse_identifiers", planted)
    assert _release(project, monkeypatch).startswith(f"{file}: holds a word of the name that sub-00")


@pytest.fixture
def without_table(project: Path, tmp_path: Path) -> Path:
    """The project where the table of names was taken elsewhere."""
    shutil.copytree(project, tmp_path / "project")
    (tmp_path / "project/names/site-a.csv").unlink()
    return tmp_path / "project"


@pytest.mark.parametrize("text", ["MUELLER", "Wójcik", "19431207", "annamueller"])
def test_names_are_found_without_their_table(text: str, without_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _release(without_table, monkeypatch, creator=f"the lab, {text}")
    assert "holds a word of the name that a patient had before the import (digests in " in told


def test_other_words_leave_without_the_table_too(without_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wgan-gp set" in _release(without_table, monkeypatch, creator="the lab, Annabel Mullers")


def test_the_digests_tell_nothing_by_themselves(without_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the owner's alone, hold no word and no pseudonym, and without the key no word can be tried."""
    kept, key = words_file(without_table / "data/raw/site-a"), without_table / KEY
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, key)] == [0o600, 0o600]
    text = kept.read_text().casefold()
    assert not [word for word in ("anna", "mueller", "muller", "wojcik", "19431207", "sub-", key.read_text().strip()) if word in text]
    key.write_text("0" * 64)
    assert "wgan-gp set" in _release(without_table, monkeypatch, creator="Anna Müller")  # another key finds nothing
    key.unlink()
    assert "the names of its patients are unknown" in _release(without_table, monkeypatch)
    shutil.copy(without_table.parent / "project/names/../params.yaml", key)
    assert "damaged" in _release(without_table, monkeypatch)


def test_imported_scans_without_table_and_digests_hold_a_release_back(without_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has the scans by DVC: what names were theirs cannot be searched for there."""
    words_file(without_table / "data/raw/site-a").unlink()
    told = _release(without_table, monkeypatch)
    assert "bring names/site-a.csv, or " in told
    assert "\n" not in told


SALT = '{"format": 1, "salt": "x", "cost": {"n": 8192, "r": 8, "p": 1}, "digests": []}'
COSTLY = '{"format": 1, "salt": "00", "cost": {"n": 1073741824, "r": 8, "p": 1}, "digests": []}'


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', SALT, COSTLY, '{"format": 1, "salt": "00", "cost": 3, "digests": []}'])
def test_damaged_digests_are_an_error(text: str, project: Path, tmp_path: Path) -> None:
    """Neighbours: empty, of another kind, parts missing, a salt that is none, and a cost that would take the machine's memory."""
    (tmp_path / "names").mkdir()
    shutil.copy(project / KEY, tmp_path / KEY)
    shutil.copytree(project / "data/raw/site-a", tmp_path / "site-a")
    words_file(tmp_path / "site-a").write_text(text)
    with pytest.raises(InputError, match="damaged") as caught:
        find_originals(tmp_path, [tmp_path / "site-a"])
    assert "\n" not in str(caught.value)


def test_the_same_words_have_other_digests_at_another_site(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project)
    (tmp_path / "site-b").mkdir()
    keep_words(tmp_path / "site-b", Path("names/site-a.csv"))
    here, there = (set(json.loads(words_file(site).read_text())["digests"]) for site in (Path("data/raw/site-a"), tmp_path / "site-b"))
    assert len(here) == len(there)
    assert not here & there


def test_words_of_a_name_by_hand() -> None:
    assert name_words(["Meier_Anna_tof.nii.gz"]) == {"meier", "anna", "meieranna", "annameier"}
    assert name_words(["P1/tof.nii"]) == set()  # a letter and a digit stand in many texts
    assert name_words(["P17/tof.nii"]) == {"p17"}
    assert name_words(["study7/MRT123456.nii"]) >= {"123456", "mrt123456", "study7"}
    assert {plain_word(word) for word in ("MÜLLER", "Müller", "Mueller", "Muller", NFD)} == {"muller"}
    assert [plain_word(word) for word in ("Weiß", "Łódź", "Søren", "İpek", "Ærø", "Žižek")] == [
        "weiss",
        "lodz",
        "soren",
        "ipek",
        "aro",
        "zizek",
    ]
    assert forms_in("AnnaMEIER01") >= {"annameier01", "anna", "meier", "01", "annameier", "meieranna"}
    assert not name_words(["sub-01_tof_brain_mask_2024.nii.gz", "scan01.nii"]) - {"scan01"}
    assert all(word == plain_word(word) for word in NOBODYS), "a word of the list in a form that is never compared"


def test_people_who_are_called_like_words_of_the_page_leave_no_trace_in_what_is_typed(project: Path) -> None:
    """The page's own words cannot be searched for in it; in what somebody types they are."""
    found = find_originals(project, [project / "data/raw/site-a"])
    assert found.whose({"anna"}).startswith("the name that sub-00")
    assert found.whose({"page", "muellers", "annabel"}) == ""
