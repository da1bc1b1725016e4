"""Copies: does a synthetic patch repeat a training patch, perhaps mirrored, turned, rotated or shifted a little?

A distance alone does not tell: bland patches are near to everything. So the statistic is a ratio, the distance to the nearest training
patch over the distance to the nearest patch of as many people who were not trained on. Near 1, the patch resembles nobody in
particular; a copy is far below. The nearest-neighbour distance ratio is used in this way for tabular synthetic data; here the second
neighbour is taken from other people, since a patient's neighbouring slices are near to each other.

Every person who was not trained on is suspected in the same way, leaving that person out of those who are compared with: how often the
ratio falls so low by chance is then known person by person (`copy_counts`).

The search goes from coarse to fine, since comparing all pairs in all poses would take days: images of about 8x8 means first, under all
symmetries and a few rotations and shifts; then the most suspicious queries are aligned exactly (`alignment`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.alignment import MAX_SHIFT, MIRRORED, Candidates, Matches, align, rotate_and_shift, symmetries
from angiosynth.privacy.nearest import Indices, Points, as_points, nearest

COARSE = 8  # side of the images of the coarse search
CANDIDATES = 4  # references that an image is aligned with
COARSE_ROTATION = 8.0  # degrees
TINY = 1e-6


@dataclass(frozen=True)
class PeoplesPatches:
    """Images (m, x, y) and the number of each one's person (m,): 0, 1, ..., each at least once."""

    images: ImagePatches
    person: Indices

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1


@dataclass(frozen=True)
class References:
    """The real patches that a search compares with: of people who were trained on, and of at least two who were not."""

    training: PeoplesPatches
    others: PeoplesPatches


@dataclass(frozen=True)
class Suspicion:
    """For each of n queries the person of one side whom it may repeat.

    Attributes:
        ratio: (n,) distance to that person's nearest patch over the distance to people who were not trained on, the person left out.
        apart: (n, spaces) the latter distance in each space in which it must be great, or the patch is like anybody's.
        person: (n,) number of the person.
    """

    ratio: NDArray[np.float64]
    apart: NDArray[np.float64]
    person: Indices


@dataclass(frozen=True)
class CopySearch:
    """Who is suspected on either side, and for the `checked` queries (k,) their matches among training patches."""

    training: Suspicion
    others: Suspicion
    checked: Indices
    near: Matches

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Of the training side, (n,)."""
        return self.training.ratio


@dataclass(frozen=True)
class PixelSearch(CopySearch):
    """A search in pixels, with the `checked` queries' matches of people who were not trained on: the nearest, and the rest of them."""

    far: Matches
    rest: Matches


def search_copies(
    queries: ImagePatches, references: References, checked: int, description: str, excluded: Indices | None = None
) -> PixelSearch:
    """Suspect for each query one training patient and one person who was not trained on, in pixels.

    Args:
        queries: (n, x, y).
        references: real patches of both sides.
        checked: how many queries, those with the least coarse ratio, are aligned exactly with the nearest few of either side; of the
            side that was not trained on as many a person.
        description: a few words for the progress.
        excluded: (n,) number of a person among the others to whom a query is not compared, since it is that person's.
    """
    images = _reduced(queries)
    posed = _posed_points(images)
    training, others = references.training, references.others
    near = _coarse_candidates(posed, training.images)
    # Person by person, so that each can be left out.
    of_each = [_of_person(posed, others, person) for person in range(others.people)]
    far, rest, person = _nearest_person(of_each, excluded)
    coarse = [side.distance[:, 0].copy() for side in (near, far, rest)]
    ratios = ratio_of(coarse[0], coarse[1]), ratio_of(coarse[1], coarse[2])
    # Only those that are suspicious even coarsely can be copies.
    share = others.people / training.people
    chosen = np.union1d(least(ratios[0], checked), least(ratios[1], round(checked * share)) if excluded is None else [])
    chosen = chosen.astype(np.int64)
    sides = [(_reduced(training.images), near), (_reduced(others.images), far), (_reduced(others.images), rest)]
    aligned = [align(images[chosen], side, candidates.select(chosen), description) for side, candidates in sides]
    # Where a query's own person is left out, nobody may remain beside the nearest one.
    aligned[2] = replace(aligned[2], distance=np.where(np.isinf(coarse[2][chosen]), np.inf, aligned[2].distance))
    ratios[0][chosen] = ratio_of(aligned[0].distance, np.minimum(aligned[1].distance, aligned[2].distance))
    ratios[1][chosen] = ratio_of(aligned[1].distance, aligned[2].distance)
    rows = near.row[:, 0].copy()
    rows[chosen] = aligned[0].row
    # A patch with something at its border alone is apart from others coarsely, but not in the middle, which is what is aligned.
    for distance, exact in zip(coarse[1:], aligned[1:], strict=True):
        distance[chosen] = np.minimum(distance[chosen], exact.distance)
    suspected = Suspicion(ratios[0], coarse[1][:, None], training.person[rows]), Suspicion(ratios[1], coarse[2][:, None], person)
    return PixelSearch(*suspected, chosen, *aligned)


def ratio_of(near: NDArray[np.float64], far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of two distances (n,); 1 where both are 0, as of patches that show nothing."""
    return (near + TINY) / (far + TINY)


def least(ratios: NDArray[np.float64], count: int) -> Indices:
    """The rows of the least ratios."""
    return np.argsort(ratios, kind="stable")[:count]


def _of_person(posed: list[_PosedPoints], others: PeoplesPatches, person: int) -> Candidates:
    """The nearest few patches of one person, by rows of all."""
    rows = np.flatnonzero(others.person == person)
    candidates = _coarse_candidates(posed, others.images[rows])
    return Candidates(candidates.distance, rows[candidates.row], candidates.symmetry)


def _nearest_person(of_each: list[Candidates], excluded: Indices | None) -> tuple[Candidates, Candidates, Indices]:
    """Candidates of the person who is nearest to each query, those of all other people, and that person's number (n,)."""
    width = min(one.row.shape[1] for one in of_each)
    distance, row, symmetry = (
        np.stack([getattr(one, name)[:, :width] for one in of_each], axis=1) for name in ("distance", "row", "symmetry")
    )
    queries = np.arange(len(distance))
    if excluded is not None:
        distance[queries, excluded] = np.inf
    person = distance[:, :, 0].argmin(axis=1)
    nearest_one = Candidates(distance[queries, person], row[queries, person], symmetry[queries, person])
    distance[queries, person] = np.inf
    flat = [one.reshape(len(queries), -1) for one in (distance, row, symmetry)]
    best = np.argsort(flat[0], axis=1, kind="stable")[:, :width]
    rest = Candidates(*(np.take_along_axis(one, best, axis=1) for one in flat))
    return nearest_one, rest, person


@dataclass(frozen=True)
class _PosedPoints:
    """Coarse points of all queries in one pose, and its symmetry."""

    symmetry: int
    points: Points


def _posed_points(images: Tensor) -> list[_PosedPoints]:
    """Queries (n, side, side) under all symmetries and a few rotations and shifts, as coarse points."""
    transformed = symmetries(images)  # views or small copies
    poses = [(0.0, x, y) for x in (-MAX_SHIFT, MAX_SHIFT) for y in (-MAX_SHIFT, MAX_SHIFT)] + [
        (-COARSE_ROTATION, 0, 0),
        (COARSE_ROTATION, 0, 0),
    ]
    # Rotations and shifts of the image and of its mirror image alone: a GAN with `flip` sees both, and no quarter turn.
    posed = ((symmetry, rotate_and_shift(transformed[symmetry], *pose)) for symmetry in (0, MIRRORED) for pose in poses)
    return [_PosedPoints(symmetry, _coarse_points(one)) for symmetry, one in itertools.chain(enumerate(transformed), posed)]


def _coarse_candidates(posed: list[_PosedPoints], references: ImagePatches) -> Candidates:
    """The nearest few references (m, x, y) of each query in any of its poses, by coarse means."""
    points = _coarse_points(_reduced(references))
    k = min(CANDIDATES, len(points))
    searches = [(one.symmetry, *nearest(one.points, points, k)) for one in posed]
    # The best k of all searches together.
    distance = np.concatenate([one for _, one, _ in searches], axis=1)
    row = np.concatenate([one for _, _, one in searches], axis=1)
    symmetry = np.concatenate([np.full(one.shape, number) for number, one, _ in searches], axis=1)
    best = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return Candidates(*(np.take_along_axis(one, best, axis=1) for one in (distance.astype(np.float64), row, symmetry)))


def _reduced(images: ImagePatches) -> Tensor:
    """(n, x, y) levels -> (n, side, side) in [-1, 1], averaged down to about 32x32 where larger."""
    points = as_points(images)
    side = math.isqrt(points.shape[1])
    return torch.from_numpy(points).view(-1, side, side)


def _coarse_points(images: Tensor) -> Points:
    """(n, side, side) -> points of about 8x8 means over overlapping squares, which a small shift changes little."""
    step = max(1, images.shape[1] // COARSE)
    means = F.avg_pool2d(images[:, None], 2 * step, step, step // 2 if step > 1 else 0, count_include_pad=False)
    return means.flatten(1).numpy()
