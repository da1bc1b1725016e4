"""What every export has, whatever the format: the conformance of the registry."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.exports.base import Card, Contents
from angiosynth.exports.opening import open_contents
from angiosynth.exports.registry import EXPORTS
from angiosynth.exports.writing import readme_of, write_export
from angiosynth.reading import file_digest
from angiosynth.release.checksums import verify, write_checksums
from angiosynth.release.identifiers import Identifiers
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.runtime.output import read_json, write_json
from tests.release.conftest import AUDIT, TERMS
from tests.release.test_generator import trained_as

NOBODY = Identifiers()


@pytest.fixture
def package(synthetic: PatchSet, audited: Path, segmenter: Path, tmp_path: Path) -> Path:
    """With all that a format may want."""
    target = tmp_path / "out" / "demo-1"
    source = trained_as("wgan-gp", tmp_path / "generator")
    build_package(target, synthetic, SharedAudit(AUDIT, audited), TERMS, segmenter=segmenter, drawn_by=source)
    return target


every_format = pytest.mark.parametrize("name", sorted(EXPORTS))


def changed_card(package: Path, **entries: object) -> None:
    """Give a package another card and the checksums that go with it; None takes an entry out."""
    card = {**read_json(package / "card.json"), **entries}
    write_json(package / "card.json", {key: value for key, value in card.items() if value is not None})
    write_checksums(package)


@every_format
def test_card_audit_and_checksums_go_along(name: str, contents: Contents, tmp_path: Path) -> None:
    target = tmp_path / "export"
    write_export(EXPORTS[name], contents, target, NOBODY)
    card = read_json(target / "card.json")
    assert card.pop("export") == {
        "format": name,
        "package_sha256sums": file_digest(contents.package / "SHA256SUMS").hexdigest(),
        "spacing_mm": [0.312, 0.312, 0.6],
    }
    assert card == read_json(contents.package / "card.json")
    for file in ("audit/audit.json", "audit/index.html"):
        assert (target / file).read_bytes() == (contents.package / file).read_bytes()
    assert "agree with SHA256SUMS" in verify(target, None)
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=target, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    readme = (target / "README.md").read_text()
    assert "Verdict of the audit on the set: **within**" in readme
    assert "Voxel size: 0.312 x 0.312 x 0.6 mm" in readme
    assert "Images and labels were drawn together." in readme  # packages of earlier versions name no source of labels
    assert "$" not in readme
    for path in target.rglob("*.json"):
        json.loads(path.read_text())


def test_an_export_says_whose_labels_these_are(contents: Contents) -> None:
    others = replace(contents, card=contents.card.model_copy(update={"labels": "unet"}))
    assert "Labels are those of a U-net" in readme_of(EXPORTS["nnunet"], others)
    with pytest.raises(ValidationError, match="labels"):
        Card.model_validate({**contents.facts, "labels": "<script>"})


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] if name == "monai" else []) for name in sorted(EXPORTS)])
def test_the_same_package_gives_the_same_bytes(name: str, contents: Contents, programs: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_export(EXPORTS[name], contents, tmp_path / "first", NOBODY)
    programs.undo()
    write_export(EXPORTS[name], contents, tmp_path / "second", NOBODY)
    assert (tmp_path / "first" / "SHA256SUMS").read_bytes() == (tmp_path / "second" / "SHA256SUMS").read_bytes()


@every_format
def test_an_override_is_named(name: str, package: Path, tmp_path: Path) -> None:
    changed_card(package, override="asked for by the board")
    contents, _ = open_contents(package, None, tmp_path / "set")
    write_export(EXPORTS[name], contents, tmp_path / "export", NOBODY)
    assert (
        "**Released against the audit's verdict.** The reason given: asked for by the board"
        in (tmp_path / "export" / "README.md").read_text()
    )


@every_format
def test_an_identifier_keeps_an_export_back(name: str, contents: Contents, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 'demo-1'"):
        write_export(EXPORTS[name], contents, tmp_path / "export", Identifiers(["demo-1"]))
    assert not (tmp_path / "export").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_what_is_there_is_not_replaced(contents: Contents, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    with pytest.raises(InputError, match="is there already"):
        write_export(EXPORTS["nnunet"], contents, tmp_path / "export", NOBODY)


def test_a_changed_package_is_refused(package: Path, tmp_path: Path) -> None:
    (package / "load.py").write_text("import os")
    with pytest.raises(InputError, match="differs from its digest"):
        open_contents(package, None, tmp_path / "set")


def test_a_package_without_voxel_size_asks_for_it(package: Path, tmp_path: Path) -> None:
    changed_card(package, spacing_mm=None)
    with pytest.raises(InputError, match="--spacing-mm X Y Z"):
        open_contents(package, None, tmp_path / "set")
    contents, _ = open_contents(package, None, tmp_path / "set", (0.5, 0.5, 0.8))
    assert contents.spacing_mm == (0.5, 0.5, 0.8)


def test_a_voxel_size_that_contradicts_the_card_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --spacing-mm"):
        open_contents(package, None, tmp_path / "set", (0.5, 0.5, 0.8))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("creator", "a\nb"),
        ("licence", "[a](javascript:b)"),
        ("url", "file:///etc/passwd"),
        ("name", "../up"),
        ("date", "today"),
        ("model", "a b"),
        ("override", "<script>"),
        ("spacing_mm", [0.3, 0.3]),
        ("spacing_mm", [0.3, 0.3, 0.0]),
        ("set_digest", "../"),
        ("patients_trained_on", -1),
        ("intensity", {"rule": "volume", "low": 99.0, "high": 1.0}),
        ("audit", {"verdicts": {"set": "anonymous"}}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_card_from_elsewhere_is_no_way_to_write_into_pages(entry: str, value: object, package: Path, tmp_path: Path) -> None:
    changed_card(package, **{entry: value})
    with pytest.raises(InputError, match=r"card\.json"):
        open_contents(package, None, tmp_path / "set")


def test_a_card_of_other_pairs_is_refused(package: Path, tmp_path: Path) -> None:
    changed_card(package, n=11)
    with pytest.raises(InputError, match="tells of 11 pairs of 16"):
        open_contents(package, None, tmp_path / "set")


def test_the_command_names_every_format() -> None:
    shown = CliRunner().invoke(commands, ["export", "--help"], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in EXPORTS)
