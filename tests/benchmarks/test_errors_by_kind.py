"""The table of errors by kind: of a finished project's predictions, and of U-nets trained for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from angiosynth.data.intensity import Scan
from angiosynth.metrics.errors_by_kind import KINDS
from angiosynth.phantom.drawing import generate_patient
from angiosynth.settings import Settings, load_settings
from benchmarks import errors_by_kind
from benchmarks.lookalikes import draw_lookalikes
from benchmarks.models import Project
from tests.factories import tiny_patches, tiny_tree, write_nifti


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose one test patient is the phantom's second, with a prediction of everything that is vessel or vein."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_tree()), encoding="utf-8")
    errors_by_kind.lookalikes_of.cache_clear()
    settings = load_settings(Path("params.yaml"))
    scanner = settings.phantom.sites["site-a"]
    image, brain, label, affine = generate_patient(scanner, settings.phantom.seed, 2, False, "site-a")
    scan = Scan("sub-02", (image / np.float32(127.5) - 1).astype(np.float32), brain, label, scanner.spacing_mm, Path("sub-02"))
    own = draw_lookalikes(scanner, settings.phantom.seed, 2, "site-a")
    write_nifti(tmp_path / "predictions" / "real" / "sub-02.nii.gz", (label | own.veins).astype(np.uint8), affine)
    return Project(settings, tiny_patches(), [scan], [scan])


def test_a_prediction_of_vessels_and_veins_is_wrong_in_veins_alone(project: Project) -> None:
    (row,) = errors_by_kind.finished(project, ["real"])
    settings, scan = project.settings, project.test[0]
    own = draw_lookalikes(settings.phantom.sites["site-a"], settings.phantom.seed, 2, "site-a")
    assert row["veins"] == int((own.veins & ~scan.truth).sum()) > 0
    assert {row[kind] for kind in KINDS if kind != "veins"} == {0}
    assert (row["model"], row["patient"], row["true_voxels"]) == ("real", "sub-02", int(scan.truth.sum()))


def test_every_error_of_a_unet_that_is_trained_here_has_a_kind(project: Project) -> None:
    rows = list(errors_by_kind.trained(project, ["real", "wgan-gp"], [3]))
    assert [(row["model"], row["seed"]) for row in rows] == [("real", 3), ("wgan-gp", 3)]
    assert all(sum(row[kind] for kind in KINDS[4:]) <= row["true_voxels"] for row in rows)
    assert sum(rows[0][kind] for kind in KINDS) > 0


def test_quick_shortens_what_is_trained_and_nothing_else() -> None:
    tree = tiny_tree()
    tree["generators"]["wgan-gp"]["steps"] = 900
    settings = Settings.model_validate(tree)
    short = errors_by_kind.quick(settings)
    assert (short.generator("wgan-gp").steps, short.generator("dcgan").steps) == (300, settings.generator("dcgan").steps)
    assert (short.synthesis.pairs, short.unet.steps) == (2000, 150)
    assert short.cohort == settings.cohort


def test_a_table_of_percents_with_the_deviation_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zero = dict.fromkeys(KINDS, 0)
    rows = [
        {"model": "real", "seed": 1, "patient": "a", "true_voxels": 100, **zero, "wall": 10},
        {"model": "real", "seed": 1, "patient": "b", "true_voxels": 200, **zero, "wall": 60},
        {"model": "real", "seed": 2, "patient": "a", "true_voxels": 100, **zero, "wall": 40},
        {"model": "gan", "seed": 1, "patient": "a", "true_voxels": 100, **zero, "thin": 7},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    errors_by_kind.main(["--collect", str(tmp_path / "rows.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| errors, percent of the true voxels | real | gan |"
    assert "| false: wall | 30.0 (14.1) | 0.0 |" in lines  # seeds' means 20 and 40
    assert "| missed: thin | 0.0 (0.0) | 7.0 |" in lines
