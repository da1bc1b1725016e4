"""The benchmark of an audit's error rates: known sets, counted verdicts, and a second call that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.audit_errors import Task, run, summary, table
from benchmarks.audit_people import People
from benchmarks.audit_sets import PAIRS, SetMaker, draw_cohort

SIZES = (4, 2, 1)


def _people() -> People:
    """12 people with 600 patches of 4x4 each, the level of a patch being its person's number."""
    person = np.repeat(np.arange(1, 13), 600)
    image = np.broadcast_to(person.astype(np.uint8)[:, None, None], (len(person), 4, 4)).copy()
    return People(image, (image > 6).astype(np.uint8), person)


def _result(kind: str, seed: int, verdict: str) -> dict[str, Any]:
    measures = {"images": {"value": 0.5, "p": 0.5, "state": "over" if verdict == "over" else "within"}}
    return {"kind": kind, "cohort": "8/4", "seed": seed, "set": verdict, "measures": measures}


def test_every_seed_splits_the_people_anew_and_strangers_are_in_no_part() -> None:
    people = _people()
    cohorts = [draw_cohort(people, SIZES, seed) for seed in (1, 2)]
    assert cohorts[0] == draw_cohort(people, SIZES, 1) != cohorts[1]
    parts = [cohorts[0].training, cohorts[0].test, cohorts[0].validation, cohorts[0].strangers]
    assert [len(part) for part in parts] == [4, 2, 1, 5]
    assert sorted(number for part in parts for number in part) == list(range(1, 13))
    assert not cohorts[0].held_out
    with_held_out = draw_cohort(people, (*SIZES, 3), 1)
    assert [len(part) for part in (with_held_out.held_out, with_held_out.strangers)] == [3, 2]
    assert not set(with_held_out.held_out) & {*with_held_out.training, *with_held_out.test, *with_held_out.strangers}


def test_of_a_leaky_set_so_many_pairs_are_training_patients_and_of_a_harmless_one_none() -> None:
    people = _people()
    cohort = draw_cohort(people, SIZES, 1)
    maker = SetMaker(people, cohort, 1, Path("no-folder"))
    assert set(np.unique(maker.strangers().pairs.image)) == set(cohort.strangers)
    leaky = maker.copies("as-they-lie", 0.03).pairs
    assert len(leaky) == PAIRS
    assert np.isin(leaky.image[:, 0, 0], cohort.training).sum() == 0.03 * PAIRS
    np.testing.assert_array_equal(leaky.label, leaky.image > 6)
    assert np.abs(maker.copies("noisy", 0.03).pairs.image[:90].astype(int) - leaky.image[:90]).max() > 12  # other patches, and noise


def test_error_rates_by_hand() -> None:
    verdicts = [
        ("strangers", "within"),
        ("strangers", "over"),
        ("gan-strangers", "unclear"),
        ("gan-one", "over"),
        ("noisy-0.01", "unclear"),
    ]
    figures = summary([_result(kind, seed, verdict) for seed, (kind, verdict) in enumerate(verdicts)])
    assert (figures["false_over"], figures["found_leaks"]) == (0.3333, 0.5)
    assert (figures["harmless"], figures["leaky"], figures["harmless_within"]) == (3, 2, 0.3333)
    assert figures["false_over_by_measure"] == {"images": 1}
    assert table(figures, ["8/4"], ["strangers", "gan-few"])[2:] == ["| strangers | 1 of 2 |", "| gan-few | - |"]
    assert summary([])["false_over"] is None


def test_a_second_call_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    """With no time left no audit starts; results of other tasks stay in the file and out of the figures."""
    results = [_result("strangers", 1, "within"), _result("strangers", 7, "over")]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in results))
    tasks = [Task("strangers", "8/4", 1), Task("strangers", "8/4", 2)]
    assert run(tasks, tmp_path, 1, 0.0) == results[:1]
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2
