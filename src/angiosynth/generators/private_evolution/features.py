"""Bounded statistics of a patient's patches, by which he is compared with drawn candidates. No patient has had a part in their making.

Every statistic is computed from 8-bit levels and so lies between public bounds, whatever a scan holds; labels are not read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (n, k)

LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of brightness
STEPS = ((1, (0.25, 0.5, 0.9, 0.99)), (2, (0.5, 0.9)), (4, (0.5, 0.9)))  # pixels apart, and quantiles of the difference
FLOOR = 1.0 / 255.0  # one level: logarithms begin there
MARGIN = 5  # pixels along a side that a patch must have, for the widest of STEPS
PEAK = 20  # the so many-th brightest pixel of a patch, less in small ones
CAP = 20.0  # deviations from the candidates' mean beyond which a patient is not more unlike


def describe(images: NDArray[Any]) -> NDArray[np.float64]:
    """Statistics (k,) of one person's patches.

    Args:
        images: (n, x, y) levels 0..255 of any numeric type; values beyond are clipped.

    Returns:
        Quantiles of brightness; of differences between near pixels, which show noise and blur; of each patch's mean and of its brightest
        pixels, which show coil and vessels. All NaN where there is no patch or a level is NaN.
    """
    values = np.asarray(images)
    if values.ndim != 3 or min(values.shape[1:]) < MARGIN or not len(values) or not np.isfinite(values).all():
        return np.full(COUNT, np.nan)
    levels = np.clip(values, 0, 255).astype(np.int16)
    across, along = np.diff(levels, axis=1), np.diff(levels, axis=2)
    parts = [_quantiles(levels, LEVELS)]
    # differences at several distances: noise is the same at all of them, tissue is not, blur lowers the near ones
    for distance, shares in STEPS:
        pairs = (levels[:, distance:] - levels[:, :-distance], levels[:, :, distance:] - levels[:, :, :-distance])
        parts.append(_log(_quantiles(np.abs(np.concatenate([pair.ravel() for pair in pairs])), shares)))
    parts.append(np.array([_neighbours(across[:, :-1], across[:, 1:]), _neighbours(along[:, :, :-1], along[:, :, 1:])]))
    # patch by patch: the coil's profile moves their means, arteries and veins their brightest pixels
    flat = levels.reshape(len(levels), -1)
    means, peaks = flat.mean(axis=1) / 255.0, np.partition(flat, -PEAK, axis=1)[:, -PEAK] / 255.0
    parts += [np.quantile(means, (0.1, 0.5, 0.9)), np.quantile(peaks, (0.1, 0.3, 0.5, 0.7, 0.9))]
    parts.append(_log(np.array([means.std(), (levels >= 254).mean(), (levels <= 1).mean()])))
    return np.concatenate(parts)


def _quantiles(levels: NDArray[np.int16], shares: tuple[float, ...]) -> NDArray[np.float64]:
    """Quantiles of whole numbers 0..255, divided by 255, by their histogram: a level stands for the interval around it."""
    counts = np.bincount(levels.ravel(), minlength=256)
    cumulative = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return np.asarray(np.interp(shares, cumulative, np.arange(257) - 0.5).clip(0, 255) / 255.0)


def _log(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(value + FLOOR)


def _neighbours(low: NDArray[np.int16], high: NDArray[np.int16]) -> float:
    """Correlation of neighbouring differences, -1..1: -0.5 for white noise, higher the smoother the image; 0 for constant ones."""
    first, second = low.ravel().astype(np.float32), high.ravel().astype(np.float32)
    scale = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.dot(first, second)) / scale if scale > 0 else 0.0


COUNT = len(LEVELS) + sum(len(shares) for _, shares in STEPS) + 2 + 3 + 5 + 3


def whitening(described: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (k,) and matrix (k, k) that make the difference between two heads of one scanner uncorrelated and of deviation 1.

    Args:
        described: (candidates, heads, k) of drawn candidates alone, two heads or more of each.
    """
    within = described - described.mean(axis=1, keepdims=True)
    flat = within.reshape(-1, described.shape[-1])
    covariance = flat.T @ flat / (described.shape[0] * (described.shape[1] - 1))
    # Shrunk towards its diagonal, since there are hardly more heads than statistics; a floor where a statistic does not vary.
    diagonal = np.diag(np.maximum(np.diag(covariance), 1e-6))
    values, vectors = np.linalg.eigh(0.5 * covariance + 0.5 * diagonal)
    return described.mean(axis=(0, 1)), vectors / np.sqrt(values)


def whitened(described: NDArray[np.float64], centre: NDArray[np.float64], matrix: NDArray[np.float64]) -> Features:
    """Statistics (n, k) on the scale of `whitening`, cut at CAP; NaN stays NaN."""
    return np.asarray(np.clip((described - centre) @ matrix, -CAP, CAP))
