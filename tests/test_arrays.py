"""Chunks of rows: all of them, in order, none too large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from angiosynth import arrays
from angiosynth.arrays import chunks


@given(st.integers(0, 40), st.integers(1, 9))
def test_chunks_are_bounded_and_give_all_rows_in_order(rows: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK", most)
        pieces = list(chunks(np.arange(rows)))
    assert [row for piece in pieces for row in piece.tolist()] == list(range(rows))
    assert all(0 < len(piece) <= most for piece in pieces)
    assert len(pieces) == -(-rows // most)


def test_a_tensor_is_cut_as_an_array_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK", 4)
    assert [len(piece) for piece in chunks(torch.zeros(9, 2))] == [4, 4, 1]
