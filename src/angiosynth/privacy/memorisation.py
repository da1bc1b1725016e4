"""Copies: does a synthetic patch repeat a training patch, perhaps mirrored, turned, rotated or shifted a little?

A distance alone does not tell: bland patches are near to everything. So the statistic is a ratio, the distance to the nearest training
patch over the distance to the nearest patch of as many people who were not trained on. Near 1, the patch resembles nobody in
particular; a copy is far below. The nearest-neighbour distance ratio is used in this way for tabular synthetic data; here the second
neighbour is taken from other people, since a patient's neighbouring slices are near to each other. How low the ratio falls by chance is
shown by real patches of validation patients, whom the generator never saw.

The search goes from coarse to fine, since comparing all pairs in all poses would take days: images of about 8x8 means first, under all
symmetries and a few rotations and shifts; then the most suspicious queries are aligned exactly (`alignment`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

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
class CopySearch:
    """Ratios (n,) of all queries; for the `checked` ones (k,) their matches among training patches and among other people's."""

    ratios: NDArray[np.float64]
    checked: Indices
    near: Matches
    far: Matches


def search_copies(queries: ImagePatches, training: ImagePatches, others: ImagePatches, checked: int, description: str) -> CopySearch:
    """Compute for each query the ratio of its distances to training patches and to patches of other people, in pixels.

    Args:
        queries: (n, x, y).
        training: (m, x, y) of training patients.
        others: (m', x, y) of as many people who were not trained on, about as many patches.
        checked: how many queries, those with the least coarse ratio, are aligned exactly with the nearest few of either side.
        description: a few words for the progress.
    """
    images = _reduced(queries)
    sides = [(_reduced(side), _coarse_candidates(images, _reduced(side))) for side in (training, others)]
    near_distance, far_distance = (candidates.distance[:, 0] for _, candidates in sides)
    ratios = near_distance / np.maximum(far_distance, TINY)
    # Only those that are suspicious even coarsely can be copies.
    chosen = np.sort(np.argsort(ratios, kind="stable")[:checked])
    near, far = (align(images[chosen], side, candidates.select(chosen), description) for side, candidates in sides)
    ratios[chosen] = near.distance / np.maximum(far.distance, TINY)
    return CopySearch(ratios, chosen, near, far)


def copy_statistics(ratios: NDArray[np.float64], held_out: NDArray[np.float64], limit: float) -> dict[str, Any]:
    """Share of synthetic patches that count as copies, and of held-out patients' real patches that would.

    Args:
        ratios: of synthetic patches, (n,).
        held_out: of real patches of patients whom the generator never saw, (k,).
        limit: below this ratio a patch counts as a copy.
    """
    return {
        "copies": float((ratios < limit).mean()),
        "copies_count": int((ratios < limit).sum()),
        "copies_held_out": float((held_out < limit).mean()),
        "least_ratio": float(ratios.min()),
        "least_ratio_held_out": float(held_out.min()),
    }


def nearer_to_training(
    training: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], bootstrap: int, seed: int
) -> dict[str, float]:
    """Share of synthetic patches that lie nearer to training patients than to as many others; a half is what chance gives.

    Args:
        training: (n, training patients) distance of each synthetic patch to the nearest patch of each.
        others: (n, test patients), the same.
        bootstrap: resamples of patients, on each side as many as there are of the fewer.
        seed: of the resamples.

    Returns:
        nearer (mean over draws without repeats) and its 95% bootstrap interval over patients, _low and _high.
    """
    rng = np.random.default_rng(seed)
    count = min(training.shape[1], others.shape[1])

    def share(repeats: bool) -> float:
        near, far = (side[:, rng.choice(side.shape[1], count, replace=repeats)].min(axis=1) for side in (training, others))
        return float((near < far).mean() + 0.5 * (near == far).mean())

    plain = float(np.mean([share(False) for _ in range(min(bootstrap, 50))]))
    low, high = np.percentile([share(True) for _ in range(bootstrap)], (2.5, 97.5)) if count > 1 else (0.0, 1.0)
    return {"nearer": plain, "nearer_low": min(float(low), plain), "nearer_high": max(float(high), plain)}


def _coarse_candidates(images: Tensor, references: Tensor) -> Candidates:
    """The nearest few references of each image, by coarse means, under all symmetries and a few rotations and shifts."""
    points, k = _coarse_points(references), min(CANDIDATES, len(references))
    transformed = symmetries(images)  # views or small copies
    poses = [(0.0, x, y) for x in (-MAX_SHIFT, MAX_SHIFT) for y in (-MAX_SHIFT, MAX_SHIFT)] + [
        (-COARSE_ROTATION, 0, 0),
        (COARSE_ROTATION, 0, 0),
    ]
    # Rotations and shifts of the image and of its mirror image alone: a GAN with `flip` sees both, and no quarter turn.
    posed = ((symmetry, rotate_and_shift(transformed[symmetry], *pose)) for symmetry in (0, MIRRORED) for pose in poses)
    searches = [(symmetry, *nearest(_coarse_points(one), points, k)) for symmetry, one in itertools.chain(enumerate(transformed), posed)]
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
