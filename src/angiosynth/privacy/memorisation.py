"""Copies: is a synthetic patch a training patch again, perhaps mirrored, turned or moved a little?

A distance alone does not tell: bland patches are near to everything. So each patch's distance to the nearest training patch is held
against its distance to the nearest patch of as many people who were not trained on. A copy is much nearer to the first; what is
usual is shown by real patches of people whom the GAN never saw.
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
from angiosynth.privacy.alignment import MIRRORED, MOVE, Candidates, Matches, align, moved, symmetries
from angiosynth.privacy.nearest import Indices, Points, as_points, nearest

COARSE = 8  # side of the images in which mirrored, turned and moved candidates are looked for
CANDIDATES = 4  # references that an image is aligned with
TURNED = 8.0  # degrees
TINY = 1e-6


@dataclass(frozen=True)
class CopySearch:
    """Ratios (n,) of all queries; for the `checked` ones (k,) their matches among training patches and among other people's."""

    ratios: NDArray[np.float64]
    checked: Indices
    near: Matches
    far: Matches


def search_copies(queries: ImagePatches, training: ImagePatches, others: ImagePatches, checked: int, what: str) -> CopySearch:
    """How near each query is to training patches beside patches of other people: ratio of the two distances, under all symmetries.

    Mirrored, turned and moved images are first compared coarsely; the `checked` queries with the least ratio, the only ones that
    can be copies, are then aligned exactly with the nearest few of either side.

    Args:
        queries: (n, x, y).
        training: (m, x, y) of training patients.
        others: (m', x, y) of as many people who were not trained on, about as many patches.
        checked: queries to align exactly.
        what: a few words for the progress.
    """
    images = _small(queries)
    sides = [(_small(side), _coarse_nearest(images, _small(side))) for side in (training, others)]
    nearest_each = [found.distance[:, 0] for _, found in sides]
    ratios = nearest_each[0] / np.maximum(nearest_each[1], TINY)
    chosen = np.sort(np.argsort(ratios, kind="stable")[:checked])
    near, far = (align(images[chosen], side, found.of(chosen), what) for side, found in sides)
    ratios[chosen] = near.distance / np.maximum(far.distance, TINY)
    return CopySearch(ratios, chosen, near, far)


def copies(ratios: NDArray[np.float64], usual: NDArray[np.float64], ratio: float) -> dict[str, Any]:
    """Share of synthetic patches that count as copies, and what it is for real patches of people whom the GAN never saw.

    Args:
        ratios: of synthetic patches, (n,).
        usual: of held-out real patches, (k,).
        ratio: below this a patch counts as a copy.
    """
    return {
        "copies": float((ratios < ratio).mean()),
        "copies_count": int((ratios < ratio).sum()),
        "copies_held_out": float((usual < ratio).mean()),
        "least_ratio": float(ratios.min()),
        "least_ratio_held_out": float(usual.min()),
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
        sides = [one[:, rng.choice(one.shape[1], count, replace=repeats)].min(axis=1) for one in (training, others)]
        return float((sides[0] < sides[1]).mean() + 0.5 * (sides[0] == sides[1]).mean())

    plain = float(np.mean([share(False) for _ in range(min(bootstrap, 50))]))
    low, high = np.percentile([share(True) for _ in range(bootstrap)], (2.5, 97.5)) if count > 1 else (0.0, 1.0)
    return {"nearer": plain, "nearer_low": min(float(low), plain), "nearer_high": max(float(high), plain)}


def _coarse_nearest(images: Tensor, references: Tensor) -> Candidates:
    """Over all symmetries, and over turns and diagonal moves of the image and its mirror image, as a GAN with `flip` sees them."""
    points, k = _coarse(references), min(CANDIDATES, len(references))
    laid = symmetries(images)  # views or small copies
    places = [(0.0, x, y) for x in (-MOVE, MOVE) for y in (-MOVE, MOVE)] + [(-TURNED, 0, 0), (TURNED, 0, 0)]
    small = ((symmetry, moved(laid[symmetry], *place)) for symmetry in (0, MIRRORED) for place in places)
    found = [(symmetry, *nearest(_coarse(one), points, k)) for symmetry, one in itertools.chain(enumerate(laid), small)]
    distance = np.concatenate([one for _, one, _ in found], axis=1)
    row = np.concatenate([one for _, _, one in found], axis=1)
    symmetry = np.concatenate([np.full(one.shape, number) for number, one, _ in found], axis=1)
    best = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return Candidates(*(np.take_along_axis(one, best, axis=1) for one in (distance.astype(np.float64), row, symmetry)))


def _small(images: ImagePatches) -> Tensor:
    """(n, x, y) levels -> (n, side, side) in [-1, 1], averaged down to about 32x32 where larger."""
    points = as_points(images)
    side = math.isqrt(points.shape[1])
    return torch.from_numpy(points).view(-1, side, side)


def _coarse(images: Tensor) -> Points:
    """(n, side, side) -> points of about 8x8 means over overlapping squares: a small move changes them little."""
    step = max(1, images.shape[1] // COARSE)
    means = F.avg_pool2d(images[:, None], 2 * step, step, step // 2 if step > 1 else 0, count_include_pad=False)
    return means.flatten(1).numpy()
