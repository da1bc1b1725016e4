"""Shape of the head, signal levels of its tissues, and smooth random fields.

Coordinates are in millimetres, right-anterior-superior, with the origin at the centre of the circle of Willis. Signals are relative to
white matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Field = NDArray[np.float32]  # (x, y, z)
Coordinates = tuple[Field, Field, Field]  # millimetres, each broadcastable to the volume

SKULL_MM = 10.0  # distance from the brain's surface to the air
WHITE, GREY, CSF = 1.0, 0.93, 0.6
BONE, MARROW, FAT, SKIN, MUSCLE, EYE, AIR = 0.16, 0.5, 1.25, 0.75, 0.7, 0.5, 0.03


@dataclass(frozen=True)
class HeadShape:
    """Outline of the brain: an egg-shaped surface, cut off from below by the skull base.

    Attributes:
        scale: size of this head, 1 on average.
        half_mm: half axes of the brain: sideways, front to back, upwards.
    """

    scale: float
    half_mm: tuple[float, float, float]

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """Centre (3,) of the brain; the circle of Willis lies in front of and below it."""
        return np.array([0.0, -12.0, 8.0]) * self.scale

    def rho(self, x: NDArray[np.floating], y: NDArray[np.floating], z: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the relative distance of points in mm from the brain's centre; 1 on its surface."""
        centre, (half_x, half_y, half_z) = self.centre_mm.astype(np.float32), self.half_mm
        v = (y - centre[1]) / np.float32(half_y)
        w = (z - centre[2]) / np.float32(half_z)
        u = (x - centre[0]) / (np.float32(half_x) * (1 - np.float32(0.13) * v))  # narrower in front
        w = w * np.where(w < 0, np.float32(0.8), np.float32(1))  # steeper walls in the lower half
        return np.asarray(np.sqrt(u * u + v * v + w * w))

    def base_mm(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the skull base height in mm below points (x, y): frontal floor, sella, petrous ridges, temporal and posterior fossae."""
        x, y = np.abs(x) / np.float32(self.scale), y / np.float32(self.scale)
        # The wings of the sphenoid: temporal lobes reach further forward than the middle.
        front = 34 / (1 + np.exp(-(y - 27 - 12 * _hill((x - 36) / 14)) / 3))
        sella = 26 * _hill(x / 13) * _hill((y - 10) / 16)
        ridge = 22 * _hill((y + 18 + 0.55 * (x - 22)) / 7) * _hill((x - 38) / 22)
        pit = -10 * _hill(x / 38) * _hill((y + 50) / 26)
        return np.asarray((-34 + np.maximum(front, np.maximum(sella, ridge)) + pit) * np.float32(self.scale))

    def to_depth(self, points: NDArray[np.float64], depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move points (n, 3) along the ray from the centre to depths (n,) in mm below the surface."""
        ray = points - self.centre_mm
        rho = np.maximum(self.rho(*points.T), 1e-3)
        target_rho = 1 - depth_mm / float(np.mean(self.half_mm))
        return np.asarray(self.centre_mm + ray * (target_rho / rho)[:, None])

    def at_depth(self, path: NDArray[np.float64], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bend a chord (n, 3) outwards so that its relative depth changes linearly with `fraction` (n,), which goes from 0 to 1."""
        rho = np.maximum(self.rho(*path.T), 1e-3)
        target_rho = (1 - fraction) * rho[0] + fraction * rho[-1]
        # Points never move inwards. The outward stretch is limited, because the quotient diverges near the centre, where rho is small.
        stretch = np.clip(target_rho / rho, 1.0, 1.35)
        return np.asarray(self.centre_mm + (path - self.centre_mm) * stretch[:, None])

    def confined(self, points: NDArray[np.float64], margin_mm: float) -> NDArray[np.float64]:
        """Move those of the points (n, 3) that lie outside the brain, or closer to its surface than the margin, inside."""
        limit = 1 - margin_mm / float(min(self.half_mm))
        rho = np.maximum(self.rho(*points.T), 1e-3)
        points = self.centre_mm + (points - self.centre_mm) * np.minimum(1, limit / rho)[:, None]
        floor = self.base_mm(points[:, 0], points[:, 1]) + margin_mm
        points[:, 2] = np.maximum(points[:, 2], np.minimum(floor, 12.0))
        return points


def draw_shape(rng: np.random.Generator) -> HeadShape:
    """Draw a head. The standard deviation is 3% for size and 1.5% for proportions."""
    scale = float(np.clip(rng.normal(1, 0.03), 0.93, 1.06))
    half = np.array([66.0, 80.0, 64.0]) * scale * np.clip(rng.normal(1, 0.015, 3), 0.97, 1.03)
    return HeadShape(scale, (float(half[0]), float(half[1]), float(half[2])))


def smooth_noise(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], grain_mm: float, rng: np.random.Generator) -> Field:
    """Draw a random field (x, y, z) with mean 0 and standard deviation about 1 that is smooth on the scale `grain_mm`.

    Normal random values on a coarse grid of knots are interpolated by cubic B-splines along one axis after the other. The interpolation is
    a sparse matrix product instead of BLAS, so that the result is identical to the last bit for any number of threads.
    """
    bases = [_splines(size, step, grain_mm) for size, step in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal([base.shape[1] for base in bases], dtype=np.float32)
    for axis in (2, 1, 0):
        first = np.moveaxis(field, axis, 0)
        product = bases[axis] @ np.ascontiguousarray(first).reshape(first.shape[0], -1)
        field = np.moveaxis(product.reshape(-1, *first.shape[1:]), 0, axis)
    # Per axis the variance is 0.4794 on average (the mean of the summed squared weights), so 0.4794**3 over three axes.
    return np.asarray(np.ascontiguousarray(field) / np.float32(0.4794**1.5), np.float32)


def _splines(size: int, step_mm: float, grain_mm: float) -> csr_array:
    """Weights (size, knots) of the uniform cubic B-spline, four per row."""
    place = np.arange(size) * step_mm / grain_mm
    first = np.floor(place).astype(np.int64)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    columns = first[:, None] + np.arange(4)
    rows = np.repeat(np.arange(size), 4)
    return csr_array((weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(size, int(first[-1]) + 4))


def _hill(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    """exp(-distance^2), which is 1 at 0 and 0.37 at 1."""
    return np.asarray(np.exp(-(distance**2)))


def ramp(value: Field, low: float, high: float) -> Field:
    """Linear ramp: 0 up to `low`, 1 from `high`."""
    return np.asarray(np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)
