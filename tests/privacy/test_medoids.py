"""Medoids of a set's clusters, and the attack that they give."""

from __future__ import annotations

import numpy as np

from angiosynth.privacy.medoids import medoid_scores, medoids


def test_medoids_are_points_in_the_middle_of_their_clusters() -> None:
    """Four far clusters of four points on a line: the medoid is one of the two in the middle, so none is at an end."""
    points = np.array([[100.0 * cluster + step, 0.0] for cluster in range(4) for step in (0, 1, 2, 3)], np.float32)
    rows = medoids(points, 1)
    assert (rows // 4).tolist() == [0, 1, 2, 3]
    assert set((rows % 4).tolist()) <= {1, 2}
    np.testing.assert_array_equal(rows, medoids(points, 1))


def test_one_point_is_its_own_medoid() -> None:
    assert medoids(np.zeros((1, 3), np.float32), 1).tolist() == [0]


def test_a_generator_that_draws_a_few_patches_over_and_over_is_recognised() -> None:
    """The set varies three training patches a little: these score above all patches of other people, whatever lies far out in the set."""
    rng = np.random.default_rng(1)
    training, others = (rng.standard_normal((40, 8)).astype(np.float32) for _ in range(2))
    varied = np.repeat(training[:3], 60, axis=0) + 0.05 * rng.standard_normal((180, 8)).astype(np.float32)
    scores = medoid_scores(np.concatenate([training[:3], others]), np.concatenate([varied, others[:1] + 20]), 1)
    assert scores[:3].min() > scores[3:].max()
