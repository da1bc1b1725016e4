"""Search for copies in pixels: synthetic patches that repeat a training patch, possibly under a symmetry, a small rotation or a shift.

A distance alone is not enough, since patches with little content are near to all others. The statistic is a ratio: the distance to the
nearest training patch divided by the distance to the nearest patch of people who were not trained on. It is near 1 for a patch that
resembles nobody in particular, and far below 1 for a copy. The nearest-neighbour distance ratio is used in this way for tabular synthetic
data; here the second neighbour is taken from other people, since neighbouring slices of one patient are similar.

The same ratio is computed for every person who was not trained on, compared with the others of them. Its distribution gives the number of
low ratios that each person has by chance (`copy_counts`).

The search is coarse to fine, since comparing all pairs in all poses would take days. Images of about 8x8 means are compared under all
symmetries and a few rotations and shifts; then the queries with the smallest ratios are aligned exactly (`alignment`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from angiosynth.arrays import ImagePatches, chunks
from angiosynth.privacy.alignment import MAX_SHIFT, MIRRORED, SYMMETRIES, Candidates, Matches, align, rotate_and_shift, transformed
from angiosynth.privacy.nearest import Indices, Points, as_points, nearest
from angiosynth.runtime.progress import progress

COARSE = 8  # side of the images of the coarse search, in pixels
CANDIDATES = 4  # references with which an image is aligned
COARSE_ROTATION = 8.0  # degrees
TINY = 1e-6  # added to both distances of a ratio


@dataclass(frozen=True)
class PeoplesPatches:
    """Images (m, x, y) and the number (m,) of each image's person: 0, 1, ..., each at least once."""

    images: ImagePatches
    person: Indices

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1


@dataclass(frozen=True)
class References:
    """The real patches of a search: those of people who were trained on, and those of at least two people who were not."""

    training: PeoplesPatches
    others: PeoplesPatches


@dataclass(frozen=True)
class Suspicion:
    """For each of n queries the nearest person of one group.

    Attributes:
        ratio: (n,) distance to that person's nearest patch over the distance to other people who were not trained on.
        apart: (n, spaces) the latter distance in each space in which a distinctive patch must be far from other people.
        person: (n,) number of the person.
    """

    ratio: NDArray[np.float64]
    apart: NDArray[np.float64]
    person: Indices


@dataclass(frozen=True)
class CopySearch:
    """The nearest people of each query in either group, and the matches of the `checked` queries (k,) among training patches."""

    training: Suspicion
    others: Suspicion
    checked: Indices
    near: Matches

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Ratios of the training group, (n,)."""
        return self.training.ratio


@dataclass(frozen=True)
class PixelSearch(CopySearch):
    """A search in pixels, with the `checked` queries' matches among people who were not trained on.

    Attributes:
        far: matches of the nearest such person.
        rest: matches among all others of them.
    """

    far: Matches
    rest: Matches


def search_copies(
    queries: ImagePatches, references: References, checked: int, description: str, excluded: Indices | None = None
) -> PixelSearch:
    """Suspect for each query one training patient and one person who was not trained on, in pixels.

    Args:
        queries: (n, x, y) levels.
        references: the real patches to compare with.
        checked: number of queries, those with the smallest coarse ratio, that are aligned exactly with the nearest few patches of either
            group; for the group that was not trained on as many for each person.
        description: text of the progress bars.
        excluded: (n,) number of a person among the others whom a query is not compared with, since it is that person's patch.
    """
    # Coarse search. People who were not trained on are searched one by one, so that each can be left out.
    images = _reduced(queries)
    posed = _posed_points(images)
    training, others = references.training, references.others
    searches = [partial(_coarse_candidates, posed, training.images)]
    searches += [partial(_of_person, posed, others, person) for person in range(others.people)]
    sizes = [len(training.images), *np.bincount(others.person).tolist()]
    near, *by_person = (search() for search in progress(searches, description, len(searches), shares=sizes))
    far, rest, person = _nearest_person(by_person, excluded)
    coarse = [candidates.distance[:, 0].copy() for candidates in (near, far, rest)]
    ratios = ratio_of(coarse[0], coarse[1]), ratio_of(coarse[1], coarse[2])
    # Exact alignment of the queries with the smallest coarse ratios; the others cannot be copies.
    share = others.people / training.people
    chosen = np.union1d(least(ratios[0], checked), least(ratios[1], round(checked * share)) if excluded is None else [])
    chosen = chosen.astype(np.int64)
    proposals = [(_reduced(training.images), near), (_reduced(others.images), far), (_reduced(others.images), rest)]
    aligned = [align(images[chosen], real, candidates.select(chosen), description) for real, candidates in proposals]
    # If the person of a query is left out, there may be no other person than the nearest.
    aligned[2] = replace(aligned[2], distance=np.where(np.isinf(coarse[2][chosen]), np.inf, aligned[2].distance))
    ratios[0][chosen] = ratio_of(aligned[0].distance, np.minimum(aligned[1].distance, aligned[2].distance))
    ratios[1][chosen] = ratio_of(aligned[1].distance, aligned[2].distance)
    rows = near.row[:, 0].copy()
    rows[chosen] = aligned[0].row
    # Content at the border makes a patch distinctive in the coarse search, but not in the alignment, which compares the centre.
    for distance, exact in zip(coarse[1:], aligned[1:], strict=True):
        distance[chosen] = np.minimum(distance[chosen], exact.distance)
    suspected = Suspicion(ratios[0], coarse[1][:, None], training.person[rows]), Suspicion(ratios[1], coarse[2][:, None], person)
    return PixelSearch(*suspected, chosen, *aligned)


def ratio_of(near: NDArray[np.float64], far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratio (n,) of two distances; 1 where both are 0, as for patches that show nothing."""
    return (near + TINY) / (far + TINY)


def least(ratios: NDArray[np.float64], count: int) -> Indices:
    """Rows (count,) of the smallest ratios, in ascending order."""
    return np.argsort(ratios, kind="stable")[:count]


def _of_person(posed: list[_PosedPoints], others: PeoplesPatches, person: int) -> Candidates:
    """The nearest few patches of one person, as rows of all others' patches."""
    rows = np.flatnonzero(others.person == person)
    candidates = _coarse_candidates(posed, others.images[rows])
    return Candidates(candidates.distance, rows[candidates.row], candidates.symmetry)


def _nearest_person(by_person: list[Candidates], excluded: Indices | None) -> tuple[Candidates, Candidates, Indices]:
    """Candidates of the person who is nearest to each query, candidates of all other people, and that person's number (n,)."""
    width = min(candidates.row.shape[1] for candidates in by_person)
    distance, row, symmetry = (
        np.stack([getattr(candidates, name)[:, :width] for candidates in by_person], axis=1) for name in ("distance", "row", "symmetry")
    )  # (n, people, width)
    queries = np.arange(len(distance))
    if excluded is not None:
        distance[queries, excluded] = np.inf
    person = distance[:, :, 0].argmin(axis=1)
    of_nearest = Candidates(distance[queries, person], row[queries, person], symmetry[queries, person])
    # The best candidates of all other people together.
    distance[queries, person] = np.inf
    flat = [field.reshape(len(queries), -1) for field in (distance, row, symmetry)]
    best = np.argsort(flat[0], axis=1, kind="stable")[:, :width]
    rest = Candidates(*(np.take_along_axis(field, best, axis=1) for field in flat))
    return of_nearest, rest, person


@dataclass(frozen=True)
class _PosedPoints:
    """Coarse points of all queries in one pose, and the symmetry of the pose."""

    symmetry: int
    points: Points


def _posed_points(images: Tensor) -> list[_PosedPoints]:
    """Transform queries (n, side, side) by all symmetries and a few rotations and shifts; returns coarse points of each pose."""
    shifts = [(0.0, x, y) for x in (-MAX_SHIFT, MAX_SHIFT) for y in (-MAX_SHIFT, MAX_SHIFT)]
    poses = [*shifts, (-COARSE_ROTATION, 0, 0), (COARSE_ROTATION, 0, 0)]
    # Rotations and shifts of the image and of its mirror image only: a GAN with `flip` is trained on both, but on no quarter turns.
    views = [(symmetry, None) for symmetry in SYMMETRIES] + [(symmetry, pose) for symmetry in (0, MIRRORED) for pose in poses]
    return [_PosedPoints(symmetry, _points_in_pose(images, symmetry, pose)) for symmetry, pose in views]


def _points_in_pose(images: Tensor, symmetry: int, pose: tuple[float, int, int] | None) -> Points:
    """Coarse points of images (n, side, side) under a symmetry and, unless None, rotated by degrees and shifted by pixels (x, y)."""
    turned = (transformed(chunk, symmetry) for chunk in chunks(images))
    posed = turned if pose is None else (rotate_and_shift(chunk, *pose) for chunk in turned)
    return np.concatenate([_coarse_points(chunk) for chunk in posed])


def _coarse_candidates(posed: list[_PosedPoints], references: ImagePatches) -> Candidates:
    """The nearest few references (m, x, y) of each query in any of its poses, by distances between coarse points."""
    points = _coarse_points(_reduced(references))
    k = min(CANDIDATES, len(points))
    # Search in each pose, then keep the best k candidates over all poses.
    searches = [(pose.symmetry, *nearest(pose.points, points, k)) for pose in posed]
    distance = np.concatenate([distances for _, distances, _ in searches], axis=1)
    row = np.concatenate([rows for _, _, rows in searches], axis=1)
    symmetry = np.concatenate([np.full(distances.shape, number) for number, distances, _ in searches], axis=1)
    best = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return Candidates(*(np.take_along_axis(field, best, axis=1) for field in (distance.astype(np.float64), row, symmetry)))


def _reduced(images: ImagePatches) -> Tensor:
    """Convert levels (n, x, y) to images (n, side, side) in [-1, 1]; larger images are averaged down to about 32x32."""
    points = as_points(images)
    side = math.isqrt(points.shape[1])
    return torch.from_numpy(points).view(-1, side, side)


def _coarse_points(images: Tensor) -> Points:
    """Reduce images (n, side, side) to about 8x8 means over overlapping squares, which change little under a small shift."""
    step = max(1, images.shape[1] // COARSE)
    means = F.avg_pool2d(images[:, None], 2 * step, step, step // 2 if step > 1 else 0, count_include_pad=False)
    return means.flatten(1).numpy()
