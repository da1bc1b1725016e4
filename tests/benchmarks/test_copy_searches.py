"""The benchmark of searches for copies: sets out of one search, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.privacy.copies import LEARNED, SPACES
from benchmarks import copy_searches
from benchmarks.audit_sets import PAIRS
from benchmarks.copy_searches import COUNT, NOBODY, Suspected, draw_power, is_over, power_of, power_table, seen_table, sets_over
from benchmarks.shares import exact_interval


def _suspected() -> Suspected:
    """Eight people trained on, eight not. Pixels see every noisy copy, the detector every deformed one too; nothing else sees any."""
    kinds = ["strangers"] * PAIRS + [kind for kind in copy_searches.KINDS for _ in range(COUNT)]
    arrays: dict[str, np.ndarray[Any, Any]] = {"kind": np.array(kinds)}
    seen = {"copies": ("noisy",), LEARNED: ("noisy", "deformed")}
    for space in (*SPACES, LEARNED):
        arrays[f"{space} people"] = np.array([8, 8])
        persons = np.arange(len(kinds)) % 8
        arrays[f"{space} training"] = np.where(np.isin(arrays["kind"], seen.get(space, ())), persons, NOBODY)
        arrays[f"{space} others"] = np.full(len(kinds), NOBODY)
    return arrays


def test_the_interval_of_none_and_of_all() -> None:
    """Clopper and Pearson: of n without a success the upper end is 1 - 0.025 ** (1 / n)."""
    assert exact_interval(0, 60) == pytest.approx((0.0, 1 - 0.025 ** (1 / 60)))
    assert exact_interval(6, 6) == pytest.approx((0.025 ** (1 / 6), 1.0))


def test_copies_are_over_where_their_number_is_beyond_chance_and_limit() -> None:
    suspected = _suspected()
    noisy = np.flatnonzero(suspected["kind"] == "noisy")

    def over(copied: int, measures: int = 12) -> bool:
        return is_over(suspected, np.concatenate([noisy[:copied], np.arange(PAIRS - copied)]), SPACES, measures)

    assert not over(3)  # the limit itself
    # Without the greatest count of either side c - ceil(c / 8) copies are members' by a chance of a half each, twice for two tests.
    assert 2 * 12 * 0.5 ** (9 - 2) > 0.05 > 2 * 12 * 0.5 ** (12 - 2)
    assert not over(9)
    assert over(12)
    assert not over(12, 60)


def test_each_copy_is_in_one_set_and_the_detector_counts_where_it_is_asked_for() -> None:
    suspected = _suspected()
    assert sets_over(suspected, "noisy", 20, learnt=False) == [True] * 3
    assert sets_over(suspected, "deformed", 20, learnt=False) == [False] * 3
    assert sets_over(suspected, "deformed", 20, learnt=True) == [True] * 3
    assert len(sets_over(suspected, "turned", 8, learnt=True)) == COUNT // 8


def test_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_searches, "COPIED", (15, 30))
    searches: dict[str, list[Suspected]] = {"8/4": [_suspected(), _suspected()]}
    power = power_of(searches)
    assert power["8/4", 30, "plain", False] == (4, 12)  # noisy ones of three kinds
    assert power["8/4", 30, "deformed", True] == (4, 4)
    assert "| deformed | 120 | 0 (0) | 0 (0) | 120 (0) | 0 (0) | 0 (0) |" in seen_table(searches["8/4"])
    row = next(line for line in power_table(power, ["8/4"]) if line.startswith("| 8/4 | 30 (1.00%)"))
    assert row.startswith("| 8/4 | 30 (1.00%) | 4 of 12 (0.10 to 0.65) |")
    draw_power(power, ["8/4"], tmp_path / "power.png")
    assert (tmp_path / "power.png").read_bytes().startswith(b"\x89PNG")
