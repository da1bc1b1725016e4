"""Attack that needs only the set: distance to the medoids of its clusters (Cluster-Medoid Leakage Attack, arXiv:2512.06062, 2025).

A generator draws most often where training patches are dense. The set is clustered in an encoder's space, here features of a U-net, and
each cluster is represented by its medoid. Members lie nearer to a medoid than non-members. Unlike the nearest synthetic image, medoids
ignore the outliers of the set, and so do not reveal rare copies.
"""

from __future__ import annotations

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from angiosynth.privacy.nearest import Indices, Points, nearest

ROUNDS = 10  # iterations of k-means


def medoid_scores(candidates: Points, synthetic: Points, seed: int) -> NDArray[np.float32]:
    """Return scores (n,): the negative distance of each candidate patch to the nearest medoid of the set's clusters."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic[medoids(synthetic, seed)])[0][:, 0]
    return scores


def medoids(points: Points, seed: int) -> Indices:
    """Cluster points by k-means and return the rows (k,) of the medoids, k at most the square root of m.

    The medoid of a cluster is its point with the smallest sum of squared distances to the others, which is the one nearest to the mean.

    Args:
        points: (m, coordinates).
        seed: seed of the initial centres of k-means.
    """
    count = max(1, math.isqrt(len(points)))
    clusters = faiss.Kmeans(points.shape[1], count, niter=ROUNDS, seed=seed, min_points_per_centroid=1)
    clusters.train(np.ascontiguousarray(points - points.mean(axis=0)))  # centred, as in `nearest`
    return np.unique(nearest(clusters.centroids + points.mean(axis=0), points)[1][:, 0])
