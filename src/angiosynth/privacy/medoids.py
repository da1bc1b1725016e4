"""Attack of whoever holds the set: nearness to the medoids of its clusters (Cluster-Medoid Leakage Attack, arXiv:2512.06062, 2025).

A generator draws most often where training patches were dense. The set is clustered in an encoder's space, here features of a U-net, and
each cluster is reduced to its medoid; a patch that was trained on lies nearer to one of these than other people's do. Unlike the nearest
synthetic image, medoids leave out the set's outliers, and with them what a rare copy would tell.
"""

from __future__ import annotations

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from angiosynth.privacy.nearest import Indices, Points, nearest

ROUNDS = 10  # of k-means


def medoid_scores(candidates: Points, synthetic: Points, seed: int) -> NDArray[np.float32]:
    """Minus the distance of each candidate patch to the nearest medoid of the set's clusters: (n,)."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic[medoids(synthetic, seed)])[0][:, 0]
    return scores


def medoids(points: Points, seed: int) -> Indices:
    """Rows (k,) of the medoids of k clusters, k being at most the root of the number of points (m, coordinates).

    A cluster's medoid is its point with the least sum of squared distances to the others, which is the one nearest to their mean.

    Args:
        points: (m, coordinates).
        seed: of the first centres of k-means.
    """
    count = max(1, math.isqrt(len(points)))
    clusters = faiss.Kmeans(points.shape[1], count, niter=ROUNDS, seed=seed, min_points_per_centroid=1)
    clusters.train(np.ascontiguousarray(points - points.mean(axis=0)))  # centred, as in `nearest`
    return np.unique(nearest(clusters.centroids + points.mean(axis=0), points)[1][:, 0])
