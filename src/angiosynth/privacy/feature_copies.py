"""Copies in features of a U-net: a synthetic patch that repeats a training patch with other noise or other grey levels.

As in pixels (see `memorisation`), the statistic is a ratio: the distance to the nearest training patch over that to the nearest patch
of people who were not trained on. A generator that repeats content rather than pixels escapes a search in pixels; features of a network
that was trained to see vessels are near where the content is.

Features change when a patch is rotated, so poses are searched for. The eight symmetries lose nothing, so the *queries* are mirrored and
turned and described again. A rotation by a few degrees or a shift interpolates, which smooths the grain that features see. So there
the *real* patch is warped by the pose from the search in pixels, and described again. Synthetic patches are smoother than real ones,
so every real patch also stands in the reference once smoothed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.alignment import MIRRORED, Matches, Poses, symmetries, warp_onto
from angiosynth.privacy.memorisation import TINY, CopySearch
from angiosynth.privacy.nearest import Indices, Points, nearest

CHUNK = 4096  # patches that are smoothed at once
Describe = Callable[[ImagePatches], Points]


@dataclass(frozen=True)
class Described:
    """Images (n, x, y) of levels and their features, all sets on one scale: (n, features), or (2n, features) `with_smoothed`."""

    images: ImagePatches
    features: Points


def with_smoothed(images: ImagePatches, features: Points, describe: Describe) -> Described:
    """Append to the features of real patches (m, x, y) those of the same patches smoothed.

    Rotation smooths a patch; both reference sets are smoothed so that neither is favoured.
    """
    smoothed = [describe(_smoothed(images[start : start + CHUNK])) for start in range(0, len(images), CHUNK)]
    return Described(images, np.concatenate([features, *smoothed]))


def _smoothed(images: ImagePatches) -> ImagePatches:
    """Smooth along each axis as much, by variance, as a shift by half a pixel does."""
    smooth = images.astype(np.float32)
    for axis in (1, 2):
        smooth = ndimage.convolve1d(smooth, (0.125, 0.75, 0.125), axis=axis, mode="nearest")
    levels: ImagePatches = smooth.round().astype(np.uint8)
    return levels


def search_in_features(
    queries: Described, training: Described, others: Described, checked: int, describe: Describe, in_pixels: CopySearch
) -> CopySearch:
    """Compute for each query the ratio of its distances to training patches and to patches of other people, in features.

    Args:
        queries: the patches that may be copies.
        training: training patients' patches, `with_smoothed`.
        others: patches of people who were not trained on, `with_smoothed`.
        checked: how many queries are searched for under all eight symmetries.
        describe: gives the features of images.
        in_pixels: the search in pixels for the same queries.
    """
    sides = [_NearestReal(queries.features, side.features) for side in (training, others)]
    every = np.arange(len(queries.images))
    # All queries, as they lie and mirrored left-right: a GAN with `flip` saw both.
    for side in sides:
        side.improve(every, MIRRORED, describe(_transformed(queries.images, MIRRORED)))
    # The most suspicious of them under the other six symmetries.
    chosen = np.sort(np.argsort(_ratios(*sides), kind="stable")[:checked])
    for symmetry in range(8):
        if symmetry not in (0, MIRRORED):
            described = describe(_transformed(queries.images[chosen], symmetry))
            for side in sides:
                side.improve(chosen, symmetry, described)
    # Those that were aligned in pixels, against the real patch of either side that was warped onto them.
    for side, real, matches in zip(sides, (training, others), (in_pixels.near, in_pixels.far), strict=True):
        warped = warped_levels(real.images, queries.images[in_pixels.checked], matches)
        side.improve_by_matches(in_pixels.checked, matches, describe(warped))
    seen = np.union1d(chosen, in_pixels.checked)
    near, far = (side.matches(seen) for side in sides)
    return CopySearch(_ratios(*sides), seen, near, far)


def warped_levels(real: ImagePatches, images: ImagePatches, matches: Matches) -> ImagePatches:
    """The matched real patches (k, x, y), warped onto their images (k, x, y), as levels."""
    targets = torch.from_numpy(images.astype(np.float32))
    warped = warp_onto(torch.from_numpy(real[matches.row].astype(np.float32)), targets, matches.poses)
    levels: ImagePatches = warped.round().clamp(0, 255).to(torch.uint8).numpy()
    return levels


class _NearestReal:
    """The best match so far of every query among the real patches of one side."""

    def __init__(self, queries: Points, real: Points) -> None:
        self.queries, self.real = queries, real
        distance, row = nearest(self.queries, real)
        # Row m + i of the reference is row i smoothed.
        self.distance, self.row = distance[:, 0].astype(np.float64), row[:, 0] % (len(real) // 2)
        self.poses = Poses.of_symmetry(np.zeros(len(row), np.int64))

    def improve(self, rows: Indices, symmetry: int, described: Points) -> None:
        """Search again for some queries, which were transformed by a symmetry and described."""
        distance, row = nearest(described, self.real)
        poses = Poses.of_symmetry(np.full(len(rows), symmetry))
        self._keep_better(rows, Matches(distance[:, 0].astype(np.float64), row[:, 0] % (len(self.real) // 2), poses))

    def improve_by_matches(self, rows: Indices, matches: Matches, described: Points) -> None:
        """Compare some queries with the features of their matched real patches, which were warped onto them."""
        gap = described.astype(np.float64) - self.queries[rows]
        self._keep_better(rows, Matches(np.sqrt(np.square(gap).mean(axis=1)), matches.row, matches.poses))

    def _keep_better(self, rows: Indices, matches: Matches) -> None:
        better = np.flatnonzero(matches.distance < self.distance[rows])
        rows, new = rows[better], matches.select(better)
        self.distance[rows], self.row[rows] = new.distance, new.row
        self.poses.symmetry[rows], self.poses.degrees[rows], self.poses.shift[rows] = new.poses.symmetry, new.poses.degrees, new.poses.shift

    def matches(self, rows: Indices) -> Matches:
        return Matches(self.distance, self.row, self.poses).select(rows)


def _ratios(near: _NearestReal, far: _NearestReal) -> NDArray[np.float64]:
    return near.distance / np.maximum(far.distance, TINY)


def _transformed(images: ImagePatches, symmetry: int) -> ImagePatches:
    """Images (n, x, y) under one of the eight symmetries."""
    return symmetries(torch.from_numpy(images))[symmetry].contiguous().numpy()
