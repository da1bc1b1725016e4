"""Patients are split by number and by name, nobody twice; a damaged split is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.data.checks import PatientFacts
from angiosynth.data.split import load_split, split_patients
from angiosynth.errors import InputError
from angiosynth.settings import SplitSettings


def _facts(labelled: int, unlabelled: int = 0) -> list[PatientFacts]:
    names = [f"sub-{index:02d}" for index in range(labelled + unlabelled)]
    return [
        PatientFacts(name, (8, 8, 8), (1.0, 1.0, 1.0), "RAS", 9, 9, index < labelled, True, f"digest{index}")
        for index, name in enumerate(names)
    ]


def _plan(
    train: int | tuple[str, ...],
    validation: int | tuple[str, ...],
    test: int | tuple[str, ...],
    held_out: int | tuple[str, ...] = 0,
    voters: int | tuple[str, ...] = 0,
) -> SplitSettings:
    return SplitSettings(train=train, validation=validation, test=test, held_out=held_out, voters=voters)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 4), st.integers(0, 5))
def test_a_split_has_the_numbers_wanted_and_no_patient_twice(train: int, validation: int, test: int, unlabelled: int, seed: int) -> None:
    facts = _facts(27, unlabelled)
    split = split_patients(facts, _plan(train, validation, test), seed, "site-a")
    assert (len(split.train), len(split.validation), len(split.test), len(split.unlabelled)) == (train, validation, test, unlabelled)
    everyone = [*split.train, *split.validation, *split.test, *split.unlabelled]
    assert len(set(everyone)) == len(everyone)
    assert split == split_patients(facts[::-1], _plan(train, validation, test), seed, "site-a")


@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 5))
def test_those_held_out_are_in_no_other_part_and_leave_it_as_it_was(held_out: int, unlabelled: int, seed: int) -> None:
    facts = _facts(8, unlabelled)
    without, split = (split_patients(facts, _plan(2, 1, 2, number), seed, "site-a") for number in (0, min(held_out, 3 + unlabelled)))
    assert (split.train, split.validation, split.test) == (without.train, without.validation, without.test)
    everyone = [*split.train, *split.validation, *split.test, *split.held_out, *split.unlabelled]
    assert len(set(everyone)) == len(everyone)
    assert len(split.held_out) == min(held_out, 3 + unlabelled)
    # The three labelled people who are left come before those without a label.
    assert sum(int(name[4:]) < 8 for name in split.held_out) == min(len(split.held_out), 3)


def test_people_without_a_label_can_be_held_out_by_name() -> None:
    split = split_patients(_facts(4, 2), _plan(1, 1, 1, ("sub-05",)), 1, "site-a")
    assert (split.held_out, split.unlabelled) == (("sub-05",), ("sub-04",))


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5))
def test_voters_follow_those_held_out_and_need_no_label(held_out: int, voters: int, seed: int) -> None:
    facts = _facts(8, 3)
    without, split = (split_patients(facts, _plan(2, 1, 2, held_out, number), seed, "site-a") for number in (0, voters))
    assert (split.train, split.validation, split.test, split.held_out) == (
        without.train,
        without.validation,
        without.test,
        without.held_out,
    )
    assert len(split.voters) == voters
    assert not {*split.voters} & {*split.train, *split.validation, *split.test, *split.held_out, *split.unlabelled}
    assert sum(int(name[4:]) < 8 for name in split.voters) == min(voters, 3 - held_out)


def test_a_split_of_an_earlier_version_holds_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "site-a.json").write_text('{"train": ["sub-1"], "validation": [], "test": ["sub-2"], "unlabelled": ["sub-3"]}')
    split = load_split(tmp_path, "site-a")
    assert (split.held_out, split.voters) == ((), ())
    (tmp_path / "site-a.json").write_text('{"train": ["sub-1"], "validation": [], "test": [], "held_out": ["sub-1"], "unlabelled": []}')
    with pytest.raises(InputError, match="sub-1 is named twice"):
        load_split(tmp_path, "site-a")


def test_seed_and_site_change_the_split() -> None:
    facts = _facts(30)
    splits = {split_patients(facts, _plan(15, 5, 10), seed, site) for seed in (1, 2) for site in ("site-a", "site-b")}
    assert len(splits) == 4


def test_lists_and_numbers_mix() -> None:
    split = split_patients(_facts(6), _plan(2, ("sub-04",), ("sub-01", "sub-00")), 1, "site-a")
    assert split.validation == ("sub-04",)
    assert split.test == ("sub-00", "sub-01")
    assert len(split.train) == 2
    assert set(split.train) <= {"sub-02", "sub-03", "sub-05"}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (_plan(4, 1, 1), "6 patients wanted"),
        (_plan(("sub-00",), ("sub-00",), 1), "sub-00 is in both train and validation"),
        (_plan(("sub-00", "sub-00"), 1, 1), "sub-00 is twice in train"),
        (_plan(("sub-77",), 1, 1), "'sub-77' in train is not among"),
        (_plan(("../sub-00",), 1, 1), "is not among"),
        (_plan(1, 1, ("sub-05",)), "sub-05 in test has no vessel label"),
        (_plan(3, 1, ("sub-00", "sub-01")), "4 patients wanted"),
        (_plan(3, 1, 1, 2), "2 patients wanted as held_out, 1 are free"),
        (_plan(3, 1, 1, 1, 1), "1 patients wanted as voters, 0 are free; lower voters of its split"),
        (_plan(1, 1, 1, 0, ("sub-00", "sub-00")), "sub-00 is twice in voters"),
        (_plan(1, 1, ("sub-00",), ("sub-00",)), "sub-00 is in both test and held_out"),
        (_plan(1, 1, 1, ("sub-77",)), "'sub-77' in held_out is not among"),
    ],
)
def test_splits_that_cannot_be_are_refused(plan: SplitSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_patients(_facts(5, 1), plan, 1, "site-a")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"train": ["sub-1"], "validation": [], "test": []}',
        '{"train": ["sub-1"], "validation": ["sub-1"], "test": [], "unlabelled": []}',
        '{"train": ["sub-1", "sub-1"], "validation": [], "test": [], "unlabelled": []}',
        '{"train": ["../../etc"], "validation": [], "test": [], "unlabelled": []}',
        '{"train": "sub-1", "validation": [], "test": [], "unlabelled": []}',
    ],
)
def test_damaged_splits_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "site-a.json").write_text(text)
    with pytest.raises(InputError, match=r"site-a\.json"):
        load_split(tmp_path, "site-a")
