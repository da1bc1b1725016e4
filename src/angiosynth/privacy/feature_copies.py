"""Copies in features of a U-net: a synthetic patch that shows a training patch again with other noise or grey levels.

As in pixels (see `memorisation`), the distance to the nearest training patch is held against that to the nearest patch of people who
were not trained on. Mirrored and quarter-turned patches are described anew; small shifts and turns change the features of small patches
more than other noise does, and are looked for in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.memorisation import TINY
from angiosynth.privacy.nearest import Indices, Points, nearest

MIRRORED = 4  # of the eight ways to lay a square: the patch mirrored left-right, as a GAN with `flip` sees it
Describe = Callable[[ImagePatches], Points]


@dataclass(frozen=True)
class FeatureSearch:
    """Ratios (n,) of all queries; for the `checked` ones (k,) the nearest training patch's row (k,) and the way they lie on it (k,)."""

    ratios: NDArray[np.float64]
    checked: Indices
    row: Indices
    pose: Indices


def search_in_features(
    queries: ImagePatches, described: Points, training: Points, others: Points, checked: int, describe: Describe
) -> FeatureSearch:
    """How near each query is to training patches beside patches of other people, in features.

    All queries are looked for as they lie and mirrored left-right; the `checked` ones with the least ratio in all eight ways.

    Args:
        queries: (n, x, y).
        described: (n, features), theirs.
        training, others: (m, features) and (m', features), on the same scale.
        checked: queries to look for in all ways.
        describe: gives the features of images.
    """
    near, row = nearest(described, training)
    best = _Best(near[:, 0].astype(np.float64), row[:, 0], np.zeros(len(queries), np.int64), _distance(described, others))
    best.improve(np.arange(len(queries)), MIRRORED, describe(lay(queries, MIRRORED)), training, others)
    chosen = np.sort(np.argsort(best.ratios(), kind="stable")[:checked])
    for pose in range(8):
        if pose not in (0, MIRRORED):
            best.improve(chosen, pose, describe(lay(queries[chosen], pose)), training, others)
    return FeatureSearch(best.ratios(), chosen, best.row[chosen], best.pose[chosen])


@dataclass
class _Best:
    """The least distances so far: to training patches, with row and pose, and to others."""

    near: NDArray[np.float64]
    row: Indices
    pose: Indices
    far: NDArray[np.float64]

    def improve(self, which: Indices, pose: int, described: Points, training: Points, others: Points) -> None:
        distance, row = nearest(described, training)
        better = distance[:, 0] < self.near[which]
        self.near[which[better]], self.row[which[better]], self.pose[which[better]] = distance[better, 0], row[better, 0], pose
        self.far[which] = np.minimum(self.far[which], _distance(described, others))

    def ratios(self) -> NDArray[np.float64]:
        return self.near / np.maximum(self.far, TINY)


def _distance(points: Points, references: Points) -> NDArray[np.float64]:
    return nearest(points, references)[0][:, 0].astype(np.float64)


def lay(images: ImagePatches, pose: int) -> ImagePatches:
    """Images (n, x, y) in one of the eight ways to lay a square: quarter turns, from 4 on of the mirror image."""
    laid = images[:, ::-1] if pose >= MIRRORED else images
    return np.ascontiguousarray(np.rot90(laid, pose % 4, (1, 2)))
