"""Copies in features of a U-net: a synthetic patch that repeats a training patch with other noise or other grey levels.

As in pixels (see `memorisation`), the statistic is a ratio: the distance to the nearest patch of one person over that to the nearest
patch of people who were not trained on. A generator that repeats content rather than pixels escapes a search in pixels; features of a
network that was trained to see vessels are near where the content is.

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
from angiosynth.privacy.memorisation import CopySearch, PixelSearch, Suspicion, least, ratio_of
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


@dataclass(frozen=True)
class DescribedPeople:
    """Training patients' patches and others', `with_smoothed`, and the number of each patch's person on either side."""

    training: Described
    training_person: Indices
    others: Described
    others_person: Indices


def search_in_features(
    queries: Described, people: DescribedPeople, checked: int, describe: Describe, in_pixels: PixelSearch, excluded: Indices | None = None
) -> CopySearch:
    """Suspect for each query one training patient and one person who was not trained on, in features.

    Args:
        queries: the patches that may be copies.
        people: whom they may repeat.
        checked: how many queries are searched for under all eight symmetries, the most suspicious of training patients; as many a
            person for the others.
        describe: gives the features of images.
        in_pixels: the search in pixels for the same queries.
        excluded: as of the search in pixels.
    """
    training = _NearestReal(queries.features, people.training.features)
    numbers = range(int(people.others_person.max()) + 1)
    of_each = [_NearestReal(queries.features, people.others.features, np.flatnonzero(people.others_person == one)) for one in numbers]
    every = np.arange(len(queries.images))
    # All queries, as they lie and mirrored left-right: a GAN with `flip` saw both.
    mirrored = describe(_transformed(queries.images, MIRRORED))
    for side in (training, *of_each):
        side.improve(every, MIRRORED, mirrored)
    # The most suspicious of them, of either side, under the other six symmetries.
    suspects = _suspects(training, of_each, excluded)
    share = len(of_each) / (int(people.training_person.max()) + 1)
    chosen = np.union1d(least(suspects.ratio, checked), least(suspects.other_ratio, round(checked * share)))
    for symmetry in range(8):
        if symmetry not in (0, MIRRORED):
            described = describe(_transformed(queries.images[chosen], symmetry))
            for side in (training, *of_each):
                side.improve(chosen, symmetry, described)
    # Those that were aligned in pixels, against the real patches that were warped onto them.
    images = queries.images[in_pixels.checked]
    training.improve_by_matches(in_pixels.checked, in_pixels.near, describe(warped_levels(people.training.images, images, in_pixels.near)))
    for matches in (in_pixels.far, in_pixels.rest):
        described = describe(warped_levels(people.others.images, images, matches))
        person = people.others_person[matches.row]
        for number, side in enumerate(of_each):
            rows = np.flatnonzero(person == number)
            side.improve_by_matches(in_pixels.checked[rows], matches.select(rows), described[rows])
    suspects, seen = _suspects(training, of_each, excluded), np.union1d(chosen, in_pixels.checked)
    apart = [np.column_stack([suspects.far, in_pixels.training.apart]), np.column_stack([suspects.rest, in_pixels.others.apart])]
    return CopySearch(
        Suspicion(suspects.ratio, apart[0], people.training_person[training.row]),
        Suspicion(suspects.other_ratio, apart[1], suspects.person),
        seen,
        training.matches(seen),
    )


@dataclass(frozen=True)
class _Suspects:
    """Of each query (n,): both ratios, the nearest other person and the distances to that person and to the rest of them."""

    ratio: NDArray[np.float64]
    other_ratio: NDArray[np.float64]
    person: Indices
    far: NDArray[np.float64]
    rest: NDArray[np.float64]


def _suspects(training: _NearestReal, of_each: list[_NearestReal], excluded: Indices | None) -> _Suspects:
    distance = np.stack([one.distance for one in of_each], axis=1)
    if excluded is not None:
        distance[np.arange(len(distance)), excluded] = np.inf
    person = distance.argmin(axis=1)
    far, rest = np.partition(distance, 1, axis=1)[:, :2].T
    return _Suspects(ratio_of(training.distance, far), ratio_of(far, rest), person, far, rest)


def warped_levels(real: ImagePatches, images: ImagePatches, matches: Matches) -> ImagePatches:
    """The matched real patches (k, x, y), warped onto their images (k, x, y), as levels."""
    targets = torch.from_numpy(images.astype(np.float32))
    warped = warp_onto(torch.from_numpy(real[matches.row].astype(np.float32)), targets, matches.poses)
    levels: ImagePatches = warped.round().clamp(0, 255).to(torch.uint8).numpy()
    return levels


class _NearestReal:
    """The best match so far of every query among the real patches `with_smoothed` (2m, features) of one side, or some rows (k,) of it."""

    def __init__(self, queries: Points, real: Points, rows: Indices | None = None) -> None:
        # Row m + i of the reference is row i smoothed.
        count = len(real) // 2
        rows = np.arange(count) if rows is None else rows
        self.queries, self.real, self.rows = queries, real[np.concatenate([rows, rows + count])], rows
        distance, row = nearest(self.queries, self.real)
        self.distance, self.row = distance[:, 0].astype(np.float64), rows[row[:, 0] % len(rows)]
        self.poses = Poses.of_symmetry(np.zeros(len(row), np.int64))

    def improve(self, rows: Indices, symmetry: int, described: Points) -> None:
        """Search again for some queries, which were transformed by a symmetry and described."""
        distance, row = nearest(described, self.real)
        poses = Poses.of_symmetry(np.full(len(rows), symmetry))
        self._keep_better(rows, Matches(distance[:, 0].astype(np.float64), self.rows[row[:, 0] % len(self.rows)], poses))

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


def _transformed(images: ImagePatches, symmetry: int) -> ImagePatches:
    """Images (n, x, y) under one of the eight symmetries."""
    return symmetries(torch.from_numpy(images))[symmetry].contiguous().numpy()
