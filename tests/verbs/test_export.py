"""The command export, as it is typed, in a project whose scans are on no disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.release.checksums import verify, write_checksums
from angiosynth.runtime.output import read_json, write_json
from angiosynth.verbs.manifest import LIBRARIES
from tests.factories import tiny_tree
from tests.release.conftest import audited as audited
from tests.release.conftest import package as package
from tests.release.conftest import synthetic as synthetic


@pytest.fixture(autouse=True)
def project(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "params.yaml").write_text(yaml.safe_dump(tiny_tree()))
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path / "lab"


def typed(*words: str) -> str:
    done = CliRunner().invoke(commands, ["export", *words])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_package_becomes_a_data_set(package: Path) -> None:
    said = typed(str(package), "--to", "nnunet", "-o", "exports/set-nnunet")
    assert "exports/set-nnunet: 12 pairs for nnU-Net v2, not signed" in said
    assert "agree with SHA256SUMS" in verify(Path("exports/set-nnunet"), None)
    assert [path.name for path in Path("exports").iterdir()] == ["set-nnunet"]  # no scratch folder is left


def test_in_a_project_a_manifest_names_package_and_export_by_digest(package: Path, project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {}\n")
    typed(str(package), "--to", "nnunet", "-o", "exports/set-nnunet")
    name = f"export-{read_json(package / 'card.json')['name']}-nnunet.json"
    (manifest,) = (project / "lineage").iterdir()
    assert manifest.name == name
    facts = read_json(manifest)
    sums = {place: hashlib.sha256((place / "SHA256SUMS").read_bytes()).hexdigest() for place in (package, Path("exports/set-nnunet"))}
    assert facts["inputs"] == {"package": sums[package], "set": read_json(package / "card.json")["set_digest"]}
    assert facts["outputs"] == {"SHA256SUMS": sums[Path("exports/set-nnunet")]}
    assert facts["settings"] == {"to": "nnunet", "spacing_mm": read_json(package / "card.json")["spacing_mm"], "signed": False}
    assert set(facts["versions"]) == {"angiosynth", "commit", "python", *LIBRARIES}
    assert str(package.parent) not in manifest.read_text()  # no place on this machine
    before = manifest.read_bytes()
    typed(str(package), "--to", "nnunet", "-o", "again")
    assert manifest.read_bytes() == before


def test_the_voxel_size_of_an_older_package_is_given(package: Path) -> None:
    card = read_json(package / "card.json")
    write_json(package / "card.json", {key: value for key, value in card.items() if not key.startswith("spacing")})
    write_checksums(package)
    with pytest.raises(InputError, match="--spacing-mm X Y Z"):
        typed(str(package), "--to", "bids", "-o", "out")
    typed(str(package), "--to", "bids", "-o", "out", "--spacing-mm", "0.5", "0.5", "0.8")
    assert read_json(Path("out/card.json"))["export"]["spacing_mm"] == [0.5, 0.5, 0.8]


@pytest.mark.parametrize("spacing", [("0", "1", "1"), ("nan", "1", "1"), ("1", "1", "1e9")], ids=str)
def test_a_voxel_size_of_no_scan_is_refused(spacing: tuple[str, ...], package: Path) -> None:
    with pytest.raises(InputError, match="--spacing-mm"):
        typed(str(package), "--to", "bids", "-o", "out", "--spacing-mm", *spacing)


def test_an_unknown_format_and_a_folder_in_use_are_refused_before_the_work(package: Path, project: Path) -> None:
    with pytest.raises(InputError, match="--to dicom: no such format; there are nnunet, huggingface"):
        typed(str(package), "--to", "dicom", "-o", "out")
    (project / "out").mkdir()
    with pytest.raises(InputError, match="out: is there already"):
        typed("nowhere", "--to", "nnunet", "-o", "out")


def test_a_word_of_this_project_keeps_an_export_back(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(package / "card.json", {**read_json(package / "card.json"), "creator": "Zwerg Institute"})
    write_checksums(package)
    monkeypatch.setenv("LOGNAME", "zwerg")
    with pytest.raises(InputError, match="this user's name"):
        typed(str(package), "--to", "huggingface", "-o", "out")
    assert not Path("out").exists()
    typed(str(package), "--to", "huggingface", "-o", "out", "--allow-word", "zwerg")


def test_a_package_with_a_damaged_array_leaves_nothing(package: Path) -> None:
    np.savez(package / "patches.npz", image=np.zeros((2, 4, 5), np.uint8), label=np.zeros((2, 4, 5), np.uint8))
    write_checksums(package)
    with pytest.raises(InputError, match="not pairs"):
        typed(str(package), "--to", "nnunet", "-o", "out")
    assert [path.name for path in Path().iterdir()] == ["params.yaml"]
