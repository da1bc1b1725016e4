"""What `summary --show` says of the audits, and of a set's worth in patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.runtime.output import write_json
from angiosynth.verbs.results import table
from tests.factories import tiny_settings

SETTINGS = tiny_settings()


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    row: dict[str, Any] = {"dsc": 0.8, "dsc_low": 0.7, "dsc_high": 0.9, "hd95_mm": 2.0, "hd_mm": 9.0, "n_seeds": 1, "n_patients": 4}
    ratios = {name: 0.9 for name in SETTINGS.training_data}
    evaluation = {name: row for name in (*SETTINGS.training_data, "threshold")} | {"ratio_to_real": ratios, "chosen_by_validation": "dcgan"}
    evaluation["generators"] = list(SETTINGS.generators)
    write_json(tmp_path / "metrics" / "evaluation.json", evaluation)
    write_json(tmp_path / "metrics" / "transfer.json", {})
    write_json(tmp_path / "metrics" / "worth.json", {})
    return Workspace(root=tmp_path)


def _audit(home: Workspace, model: str, digest: str) -> None:
    write_json(
        home.audit(model) / "audit.json",
        {"set_digest": digest, "verdicts": {"set": "within", "generator": "unclear", "critic": "too few patients"}},
    )


def test_each_audit_has_a_line_with_its_verdicts(home: Workspace) -> None:
    assert "audit" not in table(SETTINGS, home)
    for model in ("dcgan", "wgan-gp"):
        home.synthetic(model).mkdir(parents=True)
        for name in ("image", "label"):
            np.save(home.synthetic(model) / f"{name}.npy", np.zeros(3, np.uint8))
    _audit(home, "dcgan", data_digest(home.synthetic("dcgan")))
    _audit(home, "wgan-gp", "another")
    lines = {line.split("  ")[0]: line.split() for line in table(SETTINGS, home).split("\n\n")[-1].splitlines()}
    assert lines["dcgan"] == ["dcgan", "within", "unclear", "too", "few", "patients"]
    assert " ".join(lines["wgan-gp"]).endswith("too few patients of another set than the present one")
    assert "wgan-gp-sn" not in lines


def test_a_set_s_worth_has_a_line(home: Workspace) -> None:
    assert "patients: DSC" not in table(SETTINGS, home)
    curve = {count: {"dsc": dsc} for count, dsc in (("1", 0.6), ("8", 0.9))}
    levels = {"dcgan": (1.0, 1.0, 1.3), "wgan-gp": (3.24, 2.0, 8.0), "wgan-gp-sn": (8.0, 8.0, 8.0)}
    sets = {name: dict(zip(("patients", "patients_low", "patients_high"), level, strict=True)) for name, level in levels.items()}
    write_json(home.metrics / "worth.json", {"curve": curve, "sets": sets})
    lines = table(SETTINGS, home).splitlines()
    first = lines.index("real patches by number of patients: DSC 0.600 of 1, 0.900 of 8")
    assert lines[first + 1 : first + 4] == [
        "DCGAN: as good as the patches of at most 1 patients (95% interval: at most 1 to 1.3).",
        "WGAN-GP: as good as the patches of 3.2 patients (95% interval: 2.0 to at least 8).",
        "WGAN-GP-SN: as good as the patches of at least 8 patients (95% interval: at least 8 to at least 8).",
    ]
