"""Copies in features of a U-net: a synthetic patch that shows a training patch again with other noise or grey levels.

As in pixels (see `memorisation`), the distance to the nearest training patch is held against that to the nearest patch of people who
were not trained on. Mirrored and quarter-turned patches are described anew. A patch that was turned or moved a little has lost some of
its grain, which features see, so there the real patch is turned and moved as the search in pixels found it, and described then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.alignment import MIRRORED, Matches, Poses, laid, symmetries
from angiosynth.privacy.memorisation import TINY, CopySearch
from angiosynth.privacy.nearest import Indices, Points, nearest

PART = 4096  # patches that are smoothed at once
Describe = Callable[[ImagePatches], Points]


@dataclass(frozen=True)
class Described:
    """Images (n, x, y) of levels and their features (n, features), or twice as many `with_smooth`, those of all sets on one scale."""

    images: ImagePatches
    features: Points


def with_smooth(images: ImagePatches, features: Points, describe: Describe) -> Described:
    """Real patches (m, x, y) with their features, and after these those of the same as smooth as half a pixel's move makes them.

    Synthetic patches have little grain. Among real ones those that were turned would seem nearest to them, on whichever side such happen
    to be, were not all of both sides there smooth as well.
    """
    parts = [describe(_smooth(images[start : start + PART])) for start in range(0, len(images), PART)]
    return Described(images, np.concatenate([features, *parts]))


def _smooth(images: ImagePatches) -> ImagePatches:
    """The same variance along each axis as a move by half a pixel."""
    smooth = images.astype(np.float32)
    for axis in (1, 2):
        smooth = ndimage.convolve1d(smooth, (0.125, 0.75, 0.125), axis=axis, mode="nearest")
    levels: ImagePatches = smooth.round().astype(np.uint8)
    return levels


def search_in_features(
    queries: Described, training: Described, others: Described, checked: int, describe: Describe, in_pixels: CopySearch
) -> CopySearch:
    """How near each query is to training patches beside patches of other people, in features.

    All queries are looked for as they lie and mirrored left-right; the `checked` ones with the least ratio in all eight ways; those
    that were aligned in pixels also with the two real patches that were laid on them there.

    Args:
        queries: what is searched for.
        training: training patients' patches, `with_smooth`.
        others: patches of people who were not trained on, `with_smooth`.
        checked: queries to look for in all ways.
        describe: gives the features of images.
        in_pixels: the search in pixels for the same queries.
    """
    sides = [_Side(queries.features, side.features) for side in (training, others)]
    everything = np.arange(len(queries.images))
    for side in sides:
        side.improve(everything, MIRRORED, describe(_as_laid(queries.images, MIRRORED)))
    chosen = np.sort(np.argsort(_ratios(*sides), kind="stable")[:checked])
    for symmetry in range(8):
        if symmetry not in (0, MIRRORED):
            described = describe(_as_laid(queries.images[chosen], symmetry))
            for side in sides:
                side.improve(chosen, symmetry, described)
    for side, real, matches in zip(sides, (training, others), (in_pixels.near, in_pixels.far), strict=True):
        side.improve_by(in_pixels.checked, matches, describe(laid_levels(real.images, queries.images[in_pixels.checked], matches)))
    seen = np.union1d(chosen, in_pixels.checked)
    near, far = (side.matches(seen) for side in sides)
    return CopySearch(_ratios(*sides), seen, near, far)


def laid_levels(real: ImagePatches, onto: ImagePatches, matches: Matches) -> ImagePatches:
    """The matches' real patches (k, x, y) as they lie on their images (k, x, y), as levels."""
    on = torch.from_numpy(onto.astype(np.float32))
    found = laid(torch.from_numpy(real[matches.row].astype(np.float32)), on, matches.poses)
    levels: ImagePatches = found.round().clamp(0, 255).to(torch.uint8).numpy()
    return levels


class _Side:
    """The best matches of all queries so far on one side."""

    def __init__(self, queries: Points, real: Points) -> None:
        self.queries, self.real = queries, real
        distance, row = nearest(self.queries, real)
        self.distance, self.row = distance[:, 0].astype(np.float64), row[:, 0] % (len(real) // 2)
        self.poses = Poses.plain(np.zeros(len(row), np.int64))

    def improve(self, which: Indices, symmetry: int, described: Points) -> None:
        """By the queries `which`, laid in one of the eight ways and described."""
        distance, row = nearest(described, self.real)
        self._keep(which, distance[:, 0].astype(np.float64), row[:, 0] % (len(self.real) // 2), Poses.plain(np.full(len(which), symmetry)))

    def improve_by(self, which: Indices, matches: Matches, described: Points) -> None:
        """By real patches that were laid on the queries `which` and described."""
        gap = described.astype(np.float64) - self.queries[which]
        self._keep(which, np.sqrt(np.square(gap).mean(axis=1)), matches.row, matches.poses)

    def _keep(self, which: Indices, distance: NDArray[np.float64], row: Indices, poses: Poses) -> None:
        better = distance < self.distance[which]
        rows = which[better]
        self.distance[rows], self.row[rows] = distance[better], row[better]
        kept, new = self.poses, poses.of(np.flatnonzero(better))
        kept.symmetry[rows], kept.degrees[rows], kept.move[rows] = new.symmetry, new.degrees, new.move

    def matches(self, which: Indices) -> Matches:
        return Matches(self.distance, self.row, self.poses).of(which)


def _ratios(near: _Side, far: _Side) -> NDArray[np.float64]:
    return near.distance / np.maximum(far.distance, TINY)


def _as_laid(images: ImagePatches, symmetry: int) -> ImagePatches:
    """Images (n, x, y) in one of the eight ways to lay a square."""
    return symmetries(torch.from_numpy(images))[symmetry].contiguous().numpy()
