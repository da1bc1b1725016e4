"""Copies in features of a U-net: synthetic patches that repeat a training patch with different noise or grey levels.

As in pixels (see `memorisation`), the statistic is a ratio: the distance to the nearest patch of one person divided by the distance to
the nearest patch of people who were not trained on. A generator that copies content but not pixels escapes a search in pixels; features
of a network that was trained to segment vessels are similar where the content is.

Features are not invariant to rotation, so poses are searched for. The eight symmetries are lossless, so the *queries* are transformed
and encoded again. Rotations by a few degrees and shifts interpolate, which smooths the noise that features respond to. So for these the
*real* patch is warped into the pose from the search in pixels, and encoded again. Synthetic patches are smoother than real ones, so the
reference holds every real patch also in a smoothed version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import ImagePatches, chunks
from angiosynth.privacy.alignment import MIRRORED, SYMMETRIES, Matches, Poses, transformed, warp_onto
from angiosynth.privacy.memorisation import CopySearch, PixelSearch, Suspicion, least, ratio_of
from angiosynth.privacy.nearest import Indices, Points, nearest

Describe = Callable[[ImagePatches], Points]


@dataclass(frozen=True)
class Described:
    """Images (n, x, y) of levels and their standardised features: (n, features), or (2n, features) `with_smoothed`."""

    images: ImagePatches
    features: Points


def with_smoothed(images: ImagePatches, features: Points, describe: Describe) -> Described:
    """Append the features of the smoothed patches to the features of real patches (m, x, y).

    Warping smooths a patch. Both reference sets have smoothed versions, so that neither is favoured.
    """
    smoothed = (describe(_smoothed(chunk)) for chunk in chunks(images))
    return Described(images, np.concatenate([features, *smoothed]))


def _smoothed(images: ImagePatches) -> ImagePatches:
    """Smooth along each axis by a kernel of the same variance as linear interpolation at half a pixel."""
    smooth = images.astype(np.float32)
    for axis in (1, 2):
        smooth = ndimage.convolve1d(smooth, (0.125, 0.75, 0.125), axis=axis, mode="nearest")
    levels: ImagePatches = smooth.round().astype(np.uint8)
    return levels


@dataclass(frozen=True)
class DescribedPeople:
    """Patches of training patients and of others, `with_smoothed`, and the number of each patch's person within its group."""

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
        people: the real patches to compare with.
        checked: number of queries, those with the smallest ratio for training patients, that are searched for under all eight symmetries;
            for the others as many for each person.
        describe: function from images to features.
        in_pixels: the search in pixels for the same queries.
        excluded: (n,) number of a person among the others whom a query is not compared with, since it is that person's patch.
    """
    training = _NearestReal(queries.features, people.training.features)
    numbers = range(int(people.others_person.max()) + 1)
    others = [_NearestReal(queries.features, people.others.features, np.flatnonzero(people.others_person == number)) for number in numbers]
    # All queries, unchanged and mirrored left-right, since a GAN with `flip` is trained on both.
    mirrored = _described_under(MIRRORED, queries.images, describe)
    for search in (training, *others):
        search.improve(np.arange(len(queries.images)), MIRRORED, mirrored)
    # The most suspicious queries of either group under the other six symmetries.
    suspects = _suspects(training, others, excluded)
    share = len(others) / (int(people.training_person.max()) + 1)
    chosen = np.union1d(least(suspects.ratio, checked), least(suspects.other_ratio, round(checked * share)))
    for symmetry in SYMMETRIES:
        if symmetry not in (0, MIRRORED):
            described = _described_under(symmetry, queries.images[chosen], describe)
            for search in (training, *others):
                search.improve(chosen, symmetry, described)
    # Queries that were aligned in pixels, against the real patches warped onto them.
    images = queries.images[in_pixels.checked]
    training.improve_by_matches(in_pixels.checked, in_pixels.near, describe(warped_levels(people.training.images, images, in_pixels.near)))
    for matches in (in_pixels.far, in_pixels.rest):
        described = describe(warped_levels(people.others.images, images, matches))
        person = people.others_person[matches.row]
        for number, search in enumerate(others):
            rows = np.flatnonzero(person == number)
            search.improve_by_matches(in_pixels.checked[rows], matches.select(rows), described[rows])
    # Distances to other people in features, beside those of the search in pixels: a copy is distinctive in both spaces.
    suspects, searched = _suspects(training, others, excluded), np.union1d(chosen, in_pixels.checked)
    apart = [np.column_stack([suspects.far, in_pixels.training.apart]), np.column_stack([suspects.rest, in_pixels.others.apart])]
    return CopySearch(
        Suspicion(suspects.ratio, apart[0], people.training_person[training.row]),
        Suspicion(suspects.other_ratio, apart[1], suspects.person),
        searched,
        training.matches(searched),
    )


@dataclass(frozen=True)
class _Suspects:
    """The nearest people of n queries, (n,) each.

    Attributes:
        ratio: distance to the training patients over the distance to the nearest other person.
        other_ratio: distance to the nearest other person over the distance to the second nearest.
        person: number of the nearest other person.
        far: distance to that person.
        rest: distance to the second nearest other person.
    """

    ratio: NDArray[np.float64]
    other_ratio: NDArray[np.float64]
    person: Indices
    far: NDArray[np.float64]
    rest: NDArray[np.float64]


def _suspects(training: _NearestReal, others: list[_NearestReal], excluded: Indices | None) -> _Suspects:
    distance = np.stack([search.distance for search in others], axis=1)  # (n, people)
    if excluded is not None:
        distance[np.arange(len(distance)), excluded] = np.inf
    person = distance.argmin(axis=1)
    far, rest = np.partition(distance, 1, axis=1)[:, :2].T
    return _Suspects(ratio_of(training.distance, far), ratio_of(far, rest), person, far, rest)


def warped_levels(real: ImagePatches, images: ImagePatches, matches: Matches) -> ImagePatches:
    """Warp the matched real patches (k, x, y) onto their images (k, x, y); returns levels."""
    targets = torch.from_numpy(images.astype(np.float32))
    warped = warp_onto(torch.from_numpy(real[matches.row].astype(np.float32)), targets, matches.poses)
    levels: ImagePatches = warped.round().clamp(0, 255).to(torch.uint8).numpy()
    return levels


class _NearestReal:
    """The best match so far of every query among real patches.

    Args:
        queries: (n, features).
        real: (2m, features), `with_smoothed`.
        rows: (k,) rows of `real` below m to search among; None for all.
    """

    def __init__(self, queries: Points, real: Points, rows: Indices | None = None) -> None:
        # Row m + i of the reference is the smoothed version of row i.
        count = len(real) // 2
        rows = np.arange(count) if rows is None else rows
        self.queries, self.real, self.rows = queries, real[np.concatenate([rows, rows + count])], rows
        distance, row = nearest(self.queries, self.real)
        self.distance, self.row = distance[:, 0].astype(np.float64), rows[row[:, 0] % len(rows)]
        self.poses = Poses.of_symmetry(np.zeros(len(row), np.int64))

    def improve(self, rows: Indices, symmetry: int, described: Points) -> None:
        """Search again for the queries at `rows` (k,) with the features (k, features) of their images under a symmetry."""
        distance, row = nearest(described, self.real)
        poses = Poses.of_symmetry(np.full(len(rows), symmetry))
        self._keep_better(rows, Matches(distance[:, 0].astype(np.float64), self.rows[row[:, 0] % len(self.rows)], poses))

    def improve_by_matches(self, rows: Indices, matches: Matches, described: Points) -> None:
        """Compare the queries at `rows` (k,) with the features (k, features) of their matched real patches in their poses."""
        difference = described.astype(np.float64) - self.queries[rows]
        self._keep_better(rows, Matches(np.sqrt(np.square(difference).mean(axis=1)), matches.row, matches.poses))

    def _keep_better(self, rows: Indices, matches: Matches) -> None:
        better = np.flatnonzero(matches.distance < self.distance[rows])
        rows, new = rows[better], matches.select(better)
        self.distance[rows], self.row[rows] = new.distance, new.row
        self.poses.symmetry[rows], self.poses.degrees[rows], self.poses.shift[rows] = new.poses.symmetry, new.poses.degrees, new.poses.shift

    def matches(self, rows: Indices) -> Matches:
        return Matches(self.distance, self.row, self.poses).select(rows)


def _described_under(symmetry: int, images: ImagePatches, describe: Describe) -> Points:
    """Features of images (n, x, y) under one of the eight symmetries."""
    turned = (transformed(torch.tensor(chunk), symmetry).contiguous().numpy() for chunk in chunks(images))
    return np.concatenate([describe(chunk) for chunk in turned])
