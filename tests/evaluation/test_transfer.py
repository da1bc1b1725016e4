"""Which patients of the second site a training may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.evaluation.transfer import Subset, subsets
from angiosynth.settings import TransferSettings

PATIENTS = [f"sub-{number:02d}" for number in range(1, 8)]


def _settings(patients: tuple[int, ...], number: int = 1, seed: int = 1) -> TransferSettings:
    return TransferSettings(patients=patients, subsets=number, steps=1, seed=seed)


def _grid(patients: list[str], settings: TransferSettings) -> list[Subset]:
    return list(subsets(patients, settings))


def test_numbers_and_sizes() -> None:
    grid = _grid(PATIENTS, _settings((4, 1), number=3))
    assert [(subset.n_patients, subset.number) for subset in grid if subset.n_patients == 4] == [(4, 0), (4, 1), (4, 2)]
    assert all(len(subset.patients) == len(set(subset.patients)) == subset.n_patients for subset in grid)
    assert [subset.n_patients for subset in grid] == sorted(subset.n_patients for subset in grid)
    assert grid[-1].name == "4-patients-2"


@given(
    n=st.integers(1, 9),
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    number=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_subsets_are_nested_balanced_and_never_the_same_twice(n: int, counts: list[int], number: int, seed: int) -> None:
    patients = [f"sub-{index:02d}" for index in range(n)]
    grid = _grid(patients, _settings(tuple(counts), number, seed))
    assert {subset.n_patients for subset in grid} == {min(count, n) for count in counts}
    assert len({subset.patients for subset in grid}) == len(grid)
    for count in {subset.n_patients for subset in grid}:
        alike = [subset for subset in grid if subset.n_patients == count]
        assert len(alike) == (1 if count == n else min(number, n))  # as many as were asked for, where there are so many
        used = [sum(patient in subset.patients for subset in alike) for patient in patients]
        assert max(used) - min(used) <= 1
    assert len({subset.name for subset in grid}) == len(grid)
    for subset in grid:
        assert set(subset.patients) <= set(patients)
        assert list(subset.patients) == sorted(subset.patients)
        larger = [other for other in grid if other.number == subset.number and other.n_patients > subset.n_patients]
        assert all(set(subset.patients) < set(other.patients) for other in larger)


def test_the_order_of_the_patients_is_no_matter() -> None:
    settings = _settings((1, 3), number=2)
    assert _grid(PATIENTS, settings) == _grid(PATIENTS[::-1], settings)


def test_the_seed_matters() -> None:
    grids = {tuple(subset.patients for subset in _grid(PATIENTS, _settings((2, 4), seed=seed))) for seed in range(6)}
    assert len(grids) > 1


def test_more_than_there_are_is_all_of_them_once() -> None:
    (subset,) = _grid(PATIENTS[:3], _settings((5, 9), number=4))
    assert subset == Subset(3, 0, tuple(PATIENTS[:3]))


@pytest.mark.parametrize("patients", [[], ()])
def test_no_second_site_no_subsets(patients: list[str]) -> None:
    assert _grid(patients, _settings((1, 2))) == []
