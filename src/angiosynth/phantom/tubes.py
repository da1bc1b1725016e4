"""Partial volume of tubes: the fraction of each voxel that lies inside a set of tapering capsules.

Each voxel is divided into 64 sub-voxels. For each capsule, all sub-voxels of its bounding box are tested, in chunks of many capsules. Hits
are counted per voxel; a sub-voxel inside several overlapping capsules counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Affine

Points = NDArray[np.float64]  # (n, 3), millimetres
Values = NDArray[np.float64]  # (n,)

FINER = 4  # sub-voxels along each axis, 64 in a voxel
_CHUNK = 200_000  # sub-voxels tested at once; their arrays fit the processor's cache


@dataclass(frozen=True)
class Tubes:
    """Capsules that taper from one end to the other.

    Attributes:
        starts, ends: (n, 3) end points in mm.
        start_radii, end_radii: (n,) in mm.
        signal: (n,) signal above tissue, relative to tissue.
    """

    starts: Points
    ends: Points
    start_radii: Values
    end_radii: Values
    signal: Values

    def moved(self, rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> Tubes:
        """Transform the tubes by `point -> rotation @ point + shift`."""
        return Tubes(self.starts @ rotation.T + shift, self.ends @ rotation.T + shift, self.start_radii, self.end_radii, self.signal)


@dataclass(frozen=True)
class Drawn:
    """Voxels that contain tubes.

    Attributes:
        voxels: (m,) flat indices in C order, ascending.
        fraction: (m,) fraction of the voxel inside tubes, in (0, 1].
        signal: (m,) mean signal of the tubes in the voxel.
    """

    voxels: NDArray[np.int64]
    fraction: Values
    signal: Values


def join(sets: list[Tubes]) -> Tubes:
    """Concatenate sets of tubes. If two tubes overlap, the signal of the first counts."""
    return Tubes(
        np.concatenate([tubes.starts for tubes in sets]),
        np.concatenate([tubes.ends for tubes in sets]),
        np.concatenate([tubes.start_radii for tubes in sets]),
        np.concatenate([tubes.end_radii for tubes in sets]),
        np.concatenate([tubes.signal for tubes in sets]),
    )


def along(points: Points, radii: Values, signal: Values) -> Tubes:
    """Connect consecutive points (n, 3) with radii (n,) and signals (n,) by n - 1 capsules."""
    return Tubes(points[:-1], points[1:], radii[:-1], radii[1:], signal[1:])


def draw(tubes: Tubes, shape: tuple[int, int, int], affine: Affine) -> Drawn:
    """Compute fraction and signal of every voxel that contains tubes, by testing FINER**3 sub-voxel centres per voxel.

    Args:
        tubes: tubes in the affine's world coordinates, in mm.
        shape: shape of the volume.
        affine: (4, 4), diagonal except for the offset, so that the axes of volume and world agree.
    """
    spacing = np.diagonal(affine)[:3] / FINER
    # The centre of sub-voxel 0 lies half a voxel minus half a sub-voxel before the centre of voxel 0.
    origin = affine[:3, 3] - spacing * (FINER - 1) / 2
    fine_shape = np.asarray(shape) * FINER
    # bounding boxes in sub-voxels, clipped to the volume
    starts, ends = (tubes.starts - origin) / spacing, (tubes.ends - origin) / spacing
    reach = np.maximum(tubes.start_radii, tubes.end_radii)[:, None] / spacing
    low = np.maximum(np.ceil(np.minimum(starts, ends) - reach), 0).astype(np.int64)
    high = np.minimum(np.floor(np.maximum(starts, ends) + reach), fine_shape - 1).astype(np.int64)
    sizes = np.maximum(high - low + 1, 0)
    counts = sizes.prod(axis=1)
    inside = np.flatnonzero(counts)
    # test chunks of consecutive tubes whose boxes have about _CHUNK sub-voxels together
    cells: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    owners: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    edges = np.flatnonzero(np.diff(np.cumsum(counts[inside]) // _CHUNK)) + 1
    for chosen in np.split(inside, edges):
        cell, owner = _cells_inside(tubes, chosen, low[chosen], sizes[chosen], spacing, origin)
        cells.append(np.ravel_multi_index(tuple(cell), tuple(fine_shape)))
        owners.append(owner)
    return _gather(np.concatenate(cells), np.concatenate(owners), tubes.signal, shape)


def _cells_inside(
    tubes: Tubes,
    chosen: NDArray[np.int64],
    low: NDArray[np.integer],
    sizes: NDArray[np.integer],
    spacing: NDArray[np.float64],
    origin: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Sub-voxels (3, m) in the boxes of the chosen tubes that lie inside these tubes, and the index (m,) of the tube of each."""
    # 32-bit integers suffice, since a chunk has little more than _CHUNK sub-voxels and no axis has as many; they are twice as fast.
    sizes, low = sizes.astype(np.int32), low.astype(np.int32)
    counts = sizes.prod(axis=1, dtype=np.int32)
    # Enumerate the sub-voxels of all boxes in one array. `tube` is the position of each sub-voxel's tube in `chosen`; `rank` is the number
    # of the sub-voxel within the box, from which divisions give the three coordinates.
    tube = np.repeat(np.arange(len(chosen), dtype=np.int32), counts)
    rank = np.arange(len(tube), dtype=np.int32) - np.repeat(np.cumsum(counts, dtype=np.int32) - counts, counts)
    rank, third = np.divmod(rank, sizes[tube, 2])
    first, second = np.divmod(rank, sizes[tube, 1])
    cell = np.stack([first, second, third]) + low.T[:, tube]
    point = cell.astype(np.float32) * spacing[:, None].astype(np.float32) + origin[:, None].astype(np.float32)
    # Project each point onto the axis of its tube. It lies inside if its distance from the projection is at most the radius there.
    axis = (tubes.ends - tubes.starts)[chosen]
    length = np.maximum((axis**2).sum(axis=1), 1e-12)
    start, axis32 = tubes.starts[chosen].T.astype(np.float32), axis.T.astype(np.float32)
    offset = point - start[:, tube]
    place = np.clip(np.einsum("kn,kn->n", offset, axis32[:, tube]) / length.astype(np.float32)[tube], 0, 1)
    from_axis = offset - place * axis32[:, tube]
    first_radius, last_radius = tubes.start_radii[chosen].astype(np.float32), tubes.end_radii[chosen].astype(np.float32)
    radius = first_radius[tube] + place * (last_radius - first_radius)[tube]
    hit = np.einsum("kn,kn->n", from_axis, from_axis) <= radius**2
    return cell[:, hit], chosen[tube[hit]]


def _gather(cells: NDArray[np.int64], owners: NDArray[np.int64], signal: Values, shape: tuple[int, int, int]) -> Drawn:
    """Count the sub-voxels inside tubes for each voxel; each sub-voxel counts once."""
    # Tubes are ordered by priority and chunks preserve the order. `np.unique` returns the first hit of each sub-voxel, the one that counts.
    cells, first = np.unique(cells, return_index=True)
    values = signal[owners[first]]
    fine = np.unravel_index(cells, tuple(size * FINER for size in shape))
    parents = np.ravel_multi_index(tuple(index // FINER for index in fine), shape)
    voxels, place = np.unique(parents, return_inverse=True)
    count = np.bincount(place, minlength=len(voxels)).astype(np.float64)
    return Drawn(voxels.astype(np.int64), count / FINER**3, np.bincount(place, values, minlength=len(voxels)) / np.maximum(count, 1))
