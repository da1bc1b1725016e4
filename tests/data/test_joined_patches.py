"""Two sets in one: every pair is there, half of the rows are of either, and sets that do not go together are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.data import joined_patches
from angiosynth.data.joined_patches import joined
from angiosynth.errors import InputError
from tests.factories import tiny_patches


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_half_of_the_rows_are_of_either_set_and_no_pair_is_left_out(one: int, other: int, piece: int) -> None:
    first, second = tiny_patches(one, 4, seed=1), tiny_patches(other, 4, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_patches, "PIECE", piece)
        both = joined(first, second, Path("nowhere"))
    assert len(both) == 2 * max(one, other)
    np.testing.assert_array_equal(np.unique(both.rows), np.arange(one + other))
    times = np.bincount(both.rows)
    for part, count in ((times[:one], one), (times[one:], other)):
        assert part.sum() == max(one, other)
        assert part.max() - part.min() == (1 if max(one, other) % count else 0)  # pairs of one set are drawn alike
    for place, patches in ((0, first), (one, second)):
        rows = [np.flatnonzero(both.rows == place + row)[0] for row in range(len(patches))]
        for mine, theirs in zip(both.pairs(rows), patches.pairs(range(len(patches))), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(both.patient[place : place + len(patches)], patches.patient)


def test_only_chosen_pairs_are_joined() -> None:
    first, second = tiny_patches(6, 4, seed=1), tiny_patches(4, 4, seed=2, patients=2)
    chosen = second.of_patients(second.patient[:1])
    both = joined(first, chosen, Path("nowhere"))
    assert set(both.patient[both.rows[6:]]) == {second.patient[0]}
    assert len(both.image) == 6 + len(chosen)


def test_sets_that_do_not_go_together_are_refused() -> None:
    patches = tiny_patches(4, 8)
    with pytest.raises(InputError, match="has patches of size 8"):
        joined(patches, tiny_patches(4, 16), Path("nowhere"))
    with pytest.raises(InputError, match="has the intensity rule"):
        joined(patches, replace(patches, meta={**patches.meta, "intensity": {"rule": "patch"}}), Path("nowhere"))
    with pytest.raises(InputError, match="holds no patches"):
        joined(patches, replace(patches, rows=np.arange(0)), Path("nowhere"))
