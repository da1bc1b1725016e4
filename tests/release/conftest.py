"""A synthetic set with its audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from angiosynth.data.patches import PatchSet
from angiosynth.release.card import Terms
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.runtime.output import write_json
from angiosynth.settings.audit import ReleaseSettings
from tests.factories import tiny_patches

TERMS = Terms(ReleaseSettings(creator="a lab", url="https://lab.example/set"), "2026-01-31")
AUDIT: dict[str, Any] = {
    "model": "wgan-gp",
    "set_digest": "abc",
    "audit_digest": "def",
    "patients": {"training": 8, "test": 4},
    "verdicts": {"set": "within", "generator": "unclear", "critic": "over"},
    "limits": {"auc": 0.7},
}


@pytest.fixture
def synthetic() -> PatchSet:
    found = tiny_patches()
    found.meta.update({"model": "wgan-gp", "n": 12, "size": 16, "seed": 1, "label_threshold": 0.0, "vessel_fraction": 0.2})
    return found


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    folder.mkdir()
    write_json(folder / "audit.json", AUDIT)
    (folder / "index.html").write_text("<p>page</p>")
    (folder / "gallery.png").write_bytes(b"patches of patients")
    return folder


@pytest.fixture
def package(synthetic: PatchSet, audited: Path, tmp_path: Path) -> Path:
    target = tmp_path / "out" / "demo-1"
    build_package(target, synthetic, SharedAudit(AUDIT, audited), TERMS)
    return target
