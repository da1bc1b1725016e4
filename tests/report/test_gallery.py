"""The gallery of the closest pairs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from angiosynth.privacy.alignment import Matches, Poses
from angiosynth.privacy.copies import SPACES, CopyAudit, Pairs
from angiosynth.privacy.copy_counts import CopyThreshold
from angiosynth.privacy.memorisation import CopySearch, Suspicion
from angiosynth.report import gallery as module
from angiosynth.report.gallery import gallery
from angiosynth.report.style import show_picture


def _search(ratios: list[float], apart: list[float]) -> CopySearch:
    """All queries are checked; each matches the real patch of its number, as it lies."""
    every = np.arange(len(ratios))
    suspicion = Suspicion(np.array(ratios), np.array(apart)[:, None], np.zeros(len(ratios), np.int64))
    return CopySearch(
        suspicion, suspicion, every, Matches(np.zeros(len(ratios)), every, Poses.of_symmetry(np.zeros(len(ratios), np.int64)))
    )


def _copies(search: CopySearch, side: int) -> CopyAudit:
    levels = np.arange(len(search.ratios), dtype=np.uint8)[:, None, None] * 30 + np.zeros((1, side, side), np.uint8)
    pairs = Pairs(levels, (levels > 30).astype(np.uint8))
    threshold = CopyThreshold(0.3, np.array([0.5]))
    searches: dict[str, Any] = {"synthetic": dict.fromkeys(SPACES, search), "thresholds": dict.fromkeys(SPACES, threshold)}
    return cast(CopyAudit, SimpleNamespace(set=pairs, training=pairs, **searches))


def test_distinctive_pairs_come_first_and_then_the_nearest() -> None:
    search = _search([0.1, 0.4, 0.2, 0.9], apart=[0.1, 0.6, 0.6, 0.4])
    assert list(module._closest(search, CopyThreshold(0.3, np.array([0.5])))) == [2, 1, 0, 3]


@pytest.mark.parametrize(("count", "side"), [(3, 16), (12, 96)])
def test_a_row_of_synthetic_patches_stands_above_their_matches(
    count: int, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray[Any, Any]] = []

    def show(axes: Axes, picture: np.ndarray[Any, Any]) -> None:
        shown.append(picture)
        show_picture(axes, picture)

    monkeypatch.setattr(module, "show_picture", show)
    gallery(_copies(_search([0.2] * count, [0.6] * count), side), tmp_path / "gallery.png")
    assert Image.open(tmp_path / "gallery.png").width == 1375
    assert len(shown) == len(SPACES)
    images, reduced = shown[0], 16 if side == 16 else 32
    # The picture's y points upwards: synthetic patches are in its upper half, the same levels below.
    lower, upper = images[:, :reduced], images[:, -reduced:]
    np.testing.assert_array_equal(lower, upper)
    step = round(reduced * 1.1)
    assert [round(float(upper[step * column, 0]) * 255) for column in range(3)] == [0, 30, 60]
    if count == 3:
        assert (upper[3 * step :] == 1).all()  # no patch, white
