"""Exact nearest neighbours among patches, by faiss.

Distances are root mean square differences of coordinates, so they are comparable between sizes of patches: 0.1 between two images in
[-1, 1] is a twentieth of the grey scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from angiosynth.arrays import ImagePatches, chunks, from_levels

Points = NDArray[np.float32]  # (n, coordinates)
Distances = NDArray[np.float32]
Indices = NDArray[np.int64]
SIDE = 32  # larger images are averaged down to about this side, which removes noise and bounds the cost of a search


def as_points(images: ImagePatches) -> Points:
    """Convert images (n, x, y) of levels 0..255 to points of pixels in [-1, 1]; larger images are averaged down to about 32x32."""
    factor = max(1, images.shape[1] // SIDE)
    if factor == 1:
        return from_levels(images).reshape(len(images), -1)
    pieces = [F.avg_pool2d(torch.from_numpy(from_levels(chunk))[:, None], factor).flatten(1).numpy() for chunk in chunks(images)]
    return np.concatenate(pieces)


def nearest(queries: Points, references: Points, k: int = 1) -> tuple[Distances, Indices]:
    """Find the k nearest references of each query.

    Returns:
        Distances (n, k), ascending, and rows of `references` (n, k).

    Raises:
        ValueError: there are fewer than k references.
    """
    if not 1 <= k <= len(references):
        raise ValueError(f"{k} neighbours asked of {len(references)} references")
    # faiss computes |q|^2 - 2qr + |r|^2, which loses precision by cancellation if points are far from the origin. Both sets are therefore
    # centred first, and the distances of the neighbours are recomputed from differences.
    centre = references.mean(axis=0)
    _, rows = faiss.knn(queries - centre, references - centre, k)
    return _exact_distances(queries, references, rows)


@dataclass(frozen=True)
class Neighbours:
    """The nearest reference of each of n queries: distance (n,) and row (n,)."""

    distance: Distances
    row: Indices

    @classmethod
    def among(cls, queries: Points, references: Points) -> Neighbours:
        """Find the nearest reference of each query."""
        distance, row = nearest(queries, references)
        return cls(distance[:, 0], row[:, 0])


def nearest_of_each(queries: Points, references: Points, groups: NDArray[np.int64]) -> Distances:
    """Return the distance of each query to the nearest reference of each group: (n, groups).

    Args:
        queries: (n, coordinates).
        references: (m, coordinates).
        groups: (m,) group of each reference: 0, 1, ..., each at least once.
    """
    return np.concatenate([nearest(queries, references[groups == group])[0] for group in range(int(groups.max()) + 1)], axis=1)


def _exact_distances(queries: Points, references: Points, rows: Indices) -> tuple[Distances, Indices]:
    """Distances (n, k) between queries and the references at `rows` (n, k), and these rows, in ascending order of distance."""
    pieces = []
    for query, row in zip(chunks(queries), chunks(rows), strict=True):
        differences = [references[row[:, column]] - query for column in range(row.shape[1])]
        pieces.append(np.stack([np.sqrt(np.einsum("ij,ij->i", gap, gap) / gap.shape[1]) for gap in differences], axis=1))
    distances: Distances = np.concatenate(pieces)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)
