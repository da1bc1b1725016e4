"""The benchmark of verdicts over seeds: shares of real patches' DSC, and verdicts counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import write_json
from angiosynth.settings import Settings
from benchmarks import verdicts
from benchmarks.models import with_seed
from benchmarks.verdicts import one_audit, summary
from tests.factories import tiny_settings, tiny_tree


def _row(model: str, seed: int, dsc: tuple[float, float], verdict: str = "") -> dict[str, Any]:
    scores = {"dsc": {"sub-1": dsc[0], "sub-2": dsc[1]}, "hd95_mm": {"sub-1": 1.0, "sub-2": 2.0}}
    return {"model": model, "seed": seed, **scores, **({"verdicts": {"set": verdict}} if verdict else {})}


def test_the_share_is_of_real_patches_of_the_same_seed_and_verdicts_are_counted() -> None:
    rows = [_row("real", 1, (0.7, 0.9)), _row("real", 2, (0.5, 0.7))]
    rows += [_row("wgan-gp", 1, (0.6, 0.8), "within"), _row("wgan-gp", 2, (0.6, 0.6), "unclear"), _row("wgan-gp", 3, (0.5, 0.5), "within")]
    figures = summary(rows)
    assert figures["real"] == {"dsc": {1: 0.8, 2: 0.6}, "share_of_real": {1: 1.0, 2: 1.0}, "verdicts": {}}
    assert figures["wgan-gp"]["dsc"] == {1: 0.7, 2: 0.6, 3: 0.5}
    assert figures["wgan-gp"]["share_of_real"] == {1: 0.875, 2: 1.0}
    assert figures["wgan-gp"]["verdicts"] == {"set": {"within": 2, "unclear": 1}}


def test_a_seed_changes_trainings_and_attacks_and_leaves_patients_and_patches() -> None:
    settings = tiny_settings()
    other = with_seed(settings, 7)
    assert {generator.seed for generator in other.generators.values()} == {other.unet.seed, other.synthesis.seed, other.audit.seed} == {7}
    for section in ("cohort", "patches", "phantom", "probe"):
        assert getattr(other, section) == getattr(settings, section)


def test_the_same_set_is_audited_with_another_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_tree()), encoding="utf-8")
    home = Workspace()
    for place in (home.generator("wgan-gp"), home.synthetic("wgan-gp"), home.metrics / "patients"):
        place.mkdir(parents=True)
    (home.generator("wgan-gp") / "generator.pt").write_bytes(b"weights")
    monkeypatch.setattr(verdicts, "_scores", lambda home, model: {"dsc": {"sub-01": 0.5}})
    seeds: list[int] = []

    def audit(settings: Settings, other: Workspace, model: str) -> None:
        assert (other.generator(model) / "generator.pt").read_bytes() == b"weights"
        seeds.append(settings.audit.seed)
        other.audit(model).mkdir(parents=True)
        write_json(other.audit(model) / "audit.json", {"verdicts": {"set": "within"}, "findings": [{"name": "images", "state": "within"}]})

    monkeypatch.setattr(verdicts, "audit", audit)
    for _ in range(2):  # the second call continues, and audits nothing
        (row,) = one_audit(tmp_path / "again", 7, ["wgan-gp"])
        assert (row["seed"], row["verdicts"], row["measures"]) == (7, {"set": "within"}, {"images": "within"})
    assert seeds == [7]
    assert not home.audit("wgan-gp").exists()
