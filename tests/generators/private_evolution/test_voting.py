"""One patient's vote is bounded whatever his scan holds, and it is all that a patient changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from angiosynth.generators.private_evolution.features import CAP, COUNT, describe, whitened, whitening
from angiosynth.generators.private_evolution.voting import tally, vote, winners

SCAN = {
    "NaN": np.full((3, 8, 8), np.nan),
    "infinite": np.full((3, 8, 8), np.inf),
    "one NaN": np.where(np.arange(192).reshape(3, 8, 8) == 7, np.nan, 50.0),
    "constant": np.full((3, 8, 8), 40.0),
    "enormous": np.full((3, 8, 8), 1e30),
    "negative": np.full((3, 8, 8), -1e30),
    "no patch": np.zeros((0, 8, 8)),
    "too small": np.zeros((3, 2, 2)),
}
EXTREME = st.floats(allow_nan=True, allow_infinity=True, width=64)


@pytest.mark.parametrize("scan", SCAN.values(), ids=SCAN)
def test_a_strange_scan_is_described_within_bounds_or_not_at_all(scan: np.ndarray) -> None:
    statistics = describe(scan)
    assert statistics.shape == (COUNT,)
    assert np.isnan(statistics).all() or (np.abs(statistics) <= 6).all()


@given(patient=arrays(np.float64, 4, elements=EXTREME), count=st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_a_vote_is_ones_for_so_many_candidates_or_nothing(patient: np.ndarray, count: int) -> None:
    candidates = np.random.default_rng(1).normal(size=(5, 4))
    with np.errstate(over="ignore", invalid="ignore"):
        ballot = vote(patient, candidates, count)
    assert set(ballot.tolist()) <= {0, 1}
    assert ballot.sum() == (count if np.isfinite(patient).all() else 0)
    assert np.linalg.norm(ballot / count**0.5) <= 1 + 1e-12


@given(images=arrays(np.float64, (2, 6, 6), elements=EXTREME))
@settings(max_examples=60, deadline=None)
def test_a_patient_changes_the_sum_of_votes_by_norm_1_at_most_whatever_his_scan(images: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    candidates = np.clip(rng.normal(size=(6, COUNT)), -CAP, CAP)
    others = rng.normal(size=(5, COUNT))
    statistics = whitened(describe(images)[None], np.zeros(COUNT), np.eye(COUNT))
    difference = tally(np.concatenate([others, statistics]), candidates, 2) - tally(others, candidates, 2)
    assert ((difference == 0) | (difference == 1)).all()
    assert np.linalg.norm(difference / 2**0.5) <= 1 + 1e-12


def test_votes_go_to_the_nearest() -> None:
    candidates = np.array([[0.0], [1.0], [5.0], [6.0]])
    assert vote(np.array([4.4]), candidates, 2).tolist() == [0, 0, 1, 1]
    assert tally(np.array([[4.4], [0.1]]), candidates, 1).tolist() == [1, 0, 1, 0]


def test_winners_have_the_votes_above_the_noise() -> None:
    best, weights = winners(np.array([3, 40, -8, 20, 12]), 10.0, 3)
    assert best.tolist() == [1, 3, 4]
    np.testing.assert_allclose(weights, np.array([30, 10, 2]) / 42)
    assert winners(np.array([1, 2, 3]), 10.0, 2)[1].tolist() == [0.5, 0.5]


def test_statistics_are_on_the_scale_of_heads_of_one_scanner() -> None:
    rng = np.random.default_rng(4)
    described = rng.normal(size=(200, 1, 3)) * [50, 5, 1] + rng.normal(size=(200, 2, 3)) * [2.0, 0.5, 7.0]
    centre, matrix = whitening(described)
    within = np.diff(whitened(described, centre, matrix), axis=1) / 2**0.5
    np.testing.assert_allclose(within.reshape(-1, 3).std(axis=0), 1, rtol=0.25)
    assert whitened(np.full((1, 3), 1e9), centre, matrix).max() <= CAP


def test_noise_blur_and_contrast_are_described() -> None:
    """Each changes some statistic by more than another draw of the same does."""
    rng = np.random.default_rng(5)

    def images(contrast: float = 30, noise: float = 5, smooth: int = 1) -> np.ndarray:
        plain = 100 + contrast * np.sin(np.arange(16) / 3)[None, :, None] + noise * rng.normal(size=(40, 16, 16))
        return np.asarray(np.mean([np.roll(plain, shift, axis=1) for shift in range(smooth)], axis=0))

    same = np.abs(describe(images()) - describe(images())).max()
    for other in (images(contrast=45), images(noise=9), images(smooth=2)):
        assert np.abs(describe(images()) - describe(other)).max() > 3 * same
