"""The head around the arteries: its shape, tissues, skull and scalp, as signals of a TOF scan.

Coordinates are in millimetres, right-anterior-superior, with the origin in the middle of the circle of Willis. Signals are relative to
white matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Field = NDArray[np.float32]  # (x, y, z)
Coordinates = tuple[Field, Field, Field]  # millimetres, each broadcastable to the volume

SKULL_MM = 10.0  # from the brain's surface to the air
WHITE, GREY, CSF = 1.0, 0.93, 0.6
BONE, MARROW, FAT, SKIN, MUSCLE, EYE, AIR = 0.16, 0.5, 1.25, 0.75, 0.7, 0.5, 0.03


@dataclass(frozen=True)
class HeadShape:
    """The brain's outline: an egg-shaped surface, cut from below by the skull base.

    Attributes:
        scale: size of this head, 1 on average.
        half_mm: half axes of the brain: sideways, front to back, upwards.
    """

    scale: float
    half_mm: tuple[float, float, float]

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """(3,) middle of the brain; the circle of Willis lies before and below it."""
        return np.array([0.0, -12.0, 8.0]) * self.scale

    def rho(self, x: NDArray[np.floating], y: NDArray[np.floating], z: NDArray[np.floating]) -> NDArray[np.floating]:
        """Relative distance of points in mm from the brain's centre, 1 at its surface."""
        centre, (half_x, half_y, half_z) = self.centre_mm.astype(np.float32), self.half_mm
        v = (y - centre[1]) / np.float32(half_y)
        w = (z - centre[2]) / np.float32(half_z)
        u = (x - centre[0]) / (np.float32(half_x) * (1 - np.float32(0.13) * v))  # narrower in front
        w = w * np.where(w < 0, np.float32(0.8), np.float32(1))  # the walls fall steeply below the middle
        return np.asarray(np.sqrt(u * u + v * v + w * w))

    def base_mm(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Height z in mm of the skull base below points (x, y): frontal floor, sella, petrous ridges, temporal and posterior fossae."""
        x, y = np.abs(x) / np.float32(self.scale), y / np.float32(self.scale)
        # The wings of the sphenoid: temporal lobes reach further forward than the middle.
        front = 34 / (1 + np.exp(-(y - 27 - 12 * _hill((x - 36) / 14)) / 3))
        sella = 26 * _hill(x / 13) * _hill((y - 10) / 16)
        ridge = 22 * _hill((y + 18 + 0.55 * (x - 22)) / 7) * _hill((x - 38) / 22)
        pit = -10 * _hill(x / 38) * _hill((y + 50) / 26)
        return np.asarray((-34 + np.maximum(front, np.maximum(sella, ridge)) + pit) * np.float32(self.scale))

    def to_depth(self, points: NDArray[np.float64], depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 3) moved along their ray from the centre to depths (n,) in mm below the surface."""
        ray = points - self.centre_mm
        rho = np.maximum(self.rho(*points.T), 1e-3)
        target_rho = 1 - depth_mm / float(np.mean(self.half_mm))
        return np.asarray(self.centre_mm + ray * (target_rho / rho)[:, None])

    def at_depth(self, path: NDArray[np.float64], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """A chord (n, 3) bent outwards so that its depth changes linearly along it; `fraction` (n,) goes from 0 to 1."""
        rho = np.maximum(self.rho(*path.T), 1e-3)
        target_rho = (1 - fraction) * rho[0] + fraction * rho[-1]
        # Never inwards, and limited outwards: near the centre rho is small and the quotient would explode.
        stretch = np.clip(target_rho / rho, 1.0, 1.35)
        return np.asarray(self.centre_mm + (path - self.centre_mm) * stretch[:, None])

    def confined(self, points: NDArray[np.float64], margin_mm: float) -> NDArray[np.float64]:
        """Points (n, 3), those outside the brain or closer to its surface than the margin moved inside."""
        limit = 1 - margin_mm / float(min(self.half_mm))
        rho = np.maximum(self.rho(*points.T), 1e-3)
        points = self.centre_mm + (points - self.centre_mm) * np.minimum(1, limit / rho)[:, None]
        floor = self.base_mm(points[:, 0], points[:, 1]) + margin_mm
        points[:, 2] = np.maximum(points[:, 2], np.minimum(floor, 12.0))
        return points


def draw_shape(rng: np.random.Generator) -> HeadShape:
    """Draw a head: sizes differ by 3% (standard deviation), proportions by 1.5%."""
    scale = float(np.clip(rng.normal(1, 0.03), 0.93, 1.06))
    half = np.array([66.0, 80.0, 64.0]) * scale * np.clip(rng.normal(1, 0.015, 3), 0.97, 1.03)
    return HeadShape(scale, (float(half[0]), float(half[1]), float(half[2])))


def smooth_noise(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], grain_mm: float, rng: np.random.Generator) -> Field:
    """Random field (x, y, z) of mean 0 and deviation about 1, smooth on the scale `grain_mm`.

    Normal random values on a coarse grid of knots are interpolated by cubic B-splines, axis by axis. The interpolation is a sparse product
    and not BLAS, so that the result has the same bits with any number of threads.
    """
    bases = [_splines(size, step, grain_mm) for size, step in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal([base.shape[1] for base in bases], dtype=np.float32)
    for axis in (2, 1, 0):
        first = np.moveaxis(field, axis, 0)
        product = bases[axis] @ np.ascontiguousarray(first).reshape(first.shape[0], -1)
        field = np.moveaxis(product.reshape(-1, *first.shape[1:]), 0, axis)
    # The variance of a cubic B-spline sum along one axis is 0.4794 on average, so the deviation over three is 0.4794 ** 1.5.
    return np.asarray(np.ascontiguousarray(field) / np.float32(0.4794**1.5), np.float32)


def _splines(size: int, step_mm: float, grain_mm: float) -> csr_array:
    """(size, knots) weights of the uniform cubic B-spline, four a row."""
    place = np.arange(size) * step_mm / grain_mm
    first = np.floor(place).astype(np.int64)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    columns = first[:, None] + np.arange(4)
    rows = np.repeat(np.arange(size), 4)
    return csr_array((weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(size, int(first[-1]) + 4))


def _hill(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    """exp(-distance^2): 1 at 0, 0.37 at 1."""
    return np.asarray(np.exp(-(distance**2)))


def ramp(value: Field, low: float, high: float) -> Field:
    """0 up to `low`, 1 from `high` on, linear in between."""
    return np.asarray(np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)
