"""Bounded statistics of a patient's patches, which are compared with those of simulated candidates.

Every statistic is computed from 8-bit levels and so lies within public bounds, whatever a scan contains. Labels are not read, and no
patient's data was used to design the statistics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (n, k)

LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of brightness
STEPS = ((1, (0.25, 0.5, 0.9, 0.99)), (2, (0.5, 0.9)), (4, (0.5, 0.9)))  # pixels apart, and quantiles of the difference
FLOOR = 1.0 / 255.0  # one grey level, added before a logarithm
MARGIN = 5  # smallest side of a patch in pixels, one more than the largest distance of STEPS
PEAK = 20  # rank of the bright pixel of a patch whose level is a statistic
CAP = 20.0  # whitened statistics are clipped to this many deviations from the candidates' mean


def describe(images: NDArray[Any]) -> NDArray[np.float64]:
    """Compute statistics (COUNT,) of one person's patches.

    Args:
        images: (n, x, y) levels 0..255 of any numeric type; values outside are clipped.

    Returns:
        Quantiles of brightness; quantiles of differences between nearby pixels, which depend on noise and blur; quantiles of each patch's
        mean and of its bright pixels, which depend on coil and vessels. All NaN if there is no patch or a level is not finite.
    """
    values = np.asarray(images)
    if values.ndim != 3 or min(values.shape[1:]) < MARGIN or not len(values) or not np.isfinite(values).all():
        return np.full(COUNT, np.nan)
    levels = np.clip(values, 0, 255).astype(np.int16)
    across, along = np.diff(levels, axis=1), np.diff(levels, axis=2)
    parts = [_quantiles(levels, LEVELS)]
    # differences at several distances: noise contributes equally at all distances, tissue more at larger ones, blur lowers small ones
    for distance, shares in STEPS:
        pairs = (levels[:, distance:] - levels[:, :-distance], levels[:, :, distance:] - levels[:, :, :-distance])
        parts.append(_log(_quantiles(np.abs(np.concatenate([pair.ravel() for pair in pairs])), shares)))
    parts.append(np.array([_neighbours(across[:, :-1], across[:, 1:]), _neighbours(along[:, :, :-1], along[:, :, 1:])]))
    # statistics of each patch: the means depend on the coil's profile, the brightest pixels on arteries and veins
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
    """Correlation of neighbouring differences, in -1..1: -0.5 for white noise, higher for smoother images; 0 for constant images."""
    first, second = low.ravel().astype(np.float32), high.ravel().astype(np.float32)
    scale = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.dot(first, second)) / scale if scale > 0 else 0.0


COUNT = len(LEVELS) + sum(len(shares) for _, shares in STEPS) + 2 + 3 + 5 + 3


def whitening(described: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the centre (k,) and the matrix (k, k) of a whitening transform.

    Whitened statistics of different heads on the same scanner are uncorrelated and have deviation 1.

    Args:
        described: (candidates, heads, k) statistics of simulated candidates, at least two heads each; no patients.
    """
    within = described - described.mean(axis=1, keepdims=True)
    flat = within.reshape(-1, described.shape[-1])
    covariance = flat.T @ flat / (described.shape[0] * (described.shape[1] - 1))
    # The covariance is shrunk towards its diagonal, since there are hardly more heads than statistics, with a floor for statistics that do
    # not vary.
    diagonal = np.diag(np.maximum(np.diag(covariance), 1e-6))
    values, vectors = np.linalg.eigh(0.5 * covariance + 0.5 * diagonal)
    return described.mean(axis=(0, 1)), vectors / np.sqrt(values)


def whitened(described: NDArray[np.float64], centre: NDArray[np.float64], matrix: NDArray[np.float64]) -> Features:
    """Apply a `whitening` transform to statistics (n, k), and clip to -CAP..CAP; NaN stays NaN."""
    return np.asarray(np.clip((described - centre) @ matrix, -CAP, CAP))
