"""The threshold baseline against trying every threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.metrics.segmentation import dsc
from tests.factories import make_scan

CUTS = (np.arange(256) - 0.5) / 127.5 - 1.0  # half a level below each level


@pytest.mark.parametrize("seeds", [(0,), (1, 2), (3, 4, 5)])
def test_none_of_all_levels_is_better(seeds: tuple[int, ...]) -> None:
    scans = [make_scan(seed=seed) for seed in seeds]
    means = [np.mean([dsc(scan.truth, above(scan, cut)) for scan in scans]) for cut in CUTS]
    result = best_threshold(iter(scans))
    assert result == pytest.approx(CUTS[int(np.argmax(means))], abs=1e-6)
    assert np.mean([dsc(scan.truth, above(scan, result)) for scan in scans]) == pytest.approx(max(means), abs=1e-12)
    assert max(means) > 0.5  # vessels are the bright ones in these scans


def test_patients_count_alike_whatever_their_size() -> None:
    small, large = make_scan((12, 12, 3), seed=1), make_scan((30, 30, 8), seed=2)
    dim = replace(small, image=np.where(small.brain, small.image - 0.4, -1.0).clip(-1, 1).astype(np.float32))
    scans = [dim, large]
    means = [np.mean([dsc(scan.truth, above(scan, cut)) for scan in scans]) for cut in CUTS]
    result = best_threshold(scans)
    assert np.mean([dsc(scan.truth, above(scan, result)) for scan in scans]) == pytest.approx(max(means), abs=1e-9)


def test_two_grey_levels_are_distinguished() -> None:
    scan = make_scan()
    image = np.where(scan.truth, 0.5, np.where(scan.brain, 0.4, -1.0)).astype(np.float32)
    clear = replace(scan, image=image)
    result = best_threshold([clear])
    assert 0.4 < result < 0.5
    np.testing.assert_array_equal(above(clear, result), clear.truth)


def test_only_the_brain_counts() -> None:
    scan = make_scan()
    bright = replace(scan, image=np.where(scan.brain, scan.image, 1.0).astype(np.float32))
    assert best_threshold([bright]) == best_threshold([scan])
    assert not (above(bright, 0.9) & ~scan.brain).any()
    assert (above(bright, -1.5) == scan.brain).all()


def test_a_scan_without_label_is_refused() -> None:
    with pytest.raises(InputError, match="no vessel label"):
        best_threshold([replace(make_scan(), label=None)])
