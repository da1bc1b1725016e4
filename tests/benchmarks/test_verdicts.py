"""The benchmark of verdicts over seeds: shares of real patches' DSC, and verdicts counted."""

from __future__ import annotations

from typing import Any

from benchmarks.models import with_seed
from benchmarks.verdicts import summary
from tests.factories import tiny_settings


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
