"""The manifest that an import leaves in a project's folder: the lab's files by digest, and no word of theirs."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from angiosynth.runtime.output import read_json
from angiosynth.verbs.manifest import LIBRARIES
from tests.importing.lab import call_import, make_lab

MANIFEST = Path("lineage/import-site-a.json")
FILES = {
    "scan 01.nii.gz": {"vessels": "scan 01_vessels.nii.gz", "brain": "scan 01_brain.nii"},
    "SCAN02.NII": {"vessels": "scan02_VESSELS.NII.GZ", "brain": "scan02_brain.nii.gz"},
    "later/scan03.nii.gz": {"brain": "later/scan03_brain.nii.gz"},
}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return make_lab(tmp_path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _expected(lab: Path) -> dict[str, str]:
    inputs = {}
    for number, scan in enumerate(sorted(FILES, key=lambda name: _sha256(lab / name)), start=1):
        for kind, name in {"scan": scan, **FILES[scan]}.items():
            inputs[f"{kind}-{number}"] = _sha256(lab / name)
    return inputs


def test_in_a_project_a_manifest_has_files_and_folder_by_digest_and_no_name(lab: Path) -> None:
    Path("dvc.yaml").write_text("stages: {}\n")
    code, output = call_import(lab, "-o", "data/raw/site-a", "--trust-shape")
    assert code == 0, output
    facts: dict[str, Any] = read_json(MANIFEST)
    assert facts["inputs"] == _expected(lab)
    assert facts["outputs"] == {"dataset_description.json": _sha256(Path("data/raw/site-a/dataset_description.json"))}
    rules = {"vessel_values": [], "without_brain": "refuse", "trust_shape": True, "geometry": None, "series": None}
    assert facts["settings"] == rules | {"paired_by": "patterns"}
    assert set(facts["versions"]) == {"angiosynth", "commit", "python", *LIBRARIES}
    text = MANIFEST.read_text().casefold()
    assert not any(word in text for word in ("müller", "mueller", "hans", "scan0", "scan 0", "later", "sub-", "nii", "*", str(lab.parent)))
    assert stat.S_IMODE(MANIFEST.stat().st_mode) == 0o600
    before = MANIFEST.read_bytes()
    assert call_import(lab, "-o", "data/raw/site-a", "--trust-shape")[0] == 0
    assert MANIFEST.read_bytes() == before


def test_a_table_is_said_but_not_its_digest_by_which_names_could_be_tried(lab: Path) -> None:
    Path("dvc.yaml").write_text("stages: {}\n")
    rows = [",".join((scan, files.get("vessels", ""), files["brain"])) for scan, files in FILES.items()]
    (table := Path("table.csv")).write_text("\n".join(("scan,vessels,brain", *rows)))
    words = ("--scan", "", "--vessels", "", "--brain", "", "--table", str(table), "-o", "site-a", "--vessel-values", "all")
    assert call_import(lab, *words)[0] == 0
    facts: dict[str, Any] = read_json(MANIFEST)
    assert facts["inputs"] == _expected(lab)
    assert (facts["settings"]["paired_by"], facts["settings"]["vessel_values"]) == ("table", "all")
    assert _sha256(table) not in json.dumps(facts)


def test_without_a_project_and_on_a_trial_none_is_left(lab: Path) -> None:
    assert call_import(lab, "-o", "site-a")[0] == 0
    Path("dvc.yaml").write_text("stages: {}\n")
    assert call_import(lab, "--dry-run")[0] == 0
    assert not Path("lineage").exists()
