"""Grid of a simulated scan and position of the head in it, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from angiosynth.arrays import Affine
from angiosynth.phantom.head import Coordinates

CENTRE_MM = (0.0, -12.0, 16.0)  # centre of the field of view, relative to the circle of Willis


@dataclass(frozen=True)
class Pose:
    """Position of the head in the scanner, in mm: scanner point = rotation @ head point + shift."""

    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose within 4 degrees and 3 mm of the scanner's axes."""
    angles = np.clip(rng.normal(0, [2.0, 1.5, 2.0]), -4, 4)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    centre = np.array(CENTRE_MM)
    return Pose(rotation, centre - rotation @ centre + np.clip(rng.normal(0, [0.8, 1.0, 2.0]), -3, 3))


def grid_affine(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Affine:
    """Canonical affine (4, 4) in mm that places the centre of the volume at CENTRE_MM."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = np.array(CENTRE_MM) - (np.array(shape) - 1) / 2 * np.array(spacing_mm)
    return affine


def head_coordinates(shape: tuple[int, int, int], affine: Affine, pose: Pose) -> Coordinates:
    """Head coordinates x, y and z in mm, each (x, y, z), of all voxel centres."""
    # Voxel index -> scanner -> head is affine, so each coordinate is a sum of three terms that depend on one axis each and broadcast.
    to_head = pose.rotation.T @ affine[:3, :3]
    shift = pose.rotation.T @ (affine[:3, 3] - pose.shift)
    axes = np.ogrid[: shape[0], : shape[1], : shape[2]]
    terms = [[(to_head[row, axis] * axes[axis]).astype(np.float32) for axis in range(3)] for row in range(3)]
    x, y, z = (first + second + third + np.float32(shift[row]) for row, (first, second, third) in enumerate(terms))
    return x, y, z
