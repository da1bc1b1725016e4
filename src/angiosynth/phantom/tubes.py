"""Tubes drawn finer than the voxel: which share of each voxel lies inside a set of tapering capsules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Affine

Points = NDArray[np.float64]  # (n, 3), millimetres
Values = NDArray[np.float64]  # (n,)

FINER = 4  # sub-voxels along an axis: 64 in a voxel
_CHUNK = 200_000  # distances worked out at once: small enough for the processor's cache


@dataclass(frozen=True)
class Tubes:
    """Capsules that taper from one end to the other.

    Attributes:
        starts, ends: (n, 3) end points in mm.
        start_radii, end_radii: (n,) in mm.
        signal: (n,) signal above tissue, in tissue signals.
    """

    starts: Points
    ends: Points
    start_radii: Values
    end_radii: Values
    signal: Values

    def moved(self, rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> Tubes:
        """The tubes after `point -> rotation @ point + shift`."""
        return Tubes(self.starts @ rotation.T + shift, self.ends @ rotation.T + shift, self.start_radii, self.end_radii, self.signal)


@dataclass(frozen=True)
class Drawn:
    """The voxels that tubes touch.

    Attributes:
        voxels: (m,) flat indices in C order, ascending.
        fraction: (m,) share of the voxel inside a tube, in (0, 1].
        signal: (m,) mean signal of that share.
    """

    voxels: NDArray[np.int64]
    fraction: Values
    signal: Values


def join(parts: list[Tubes]) -> Tubes:
    """All tubes of several sets in one; where two overlap, the first one's signal counts."""
    return Tubes(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([part.start_radii for part in parts]),
        np.concatenate([part.end_radii for part in parts]),
        np.concatenate([part.signal for part in parts]),
    )


def along(points: Points, radii: Values, signal: Values) -> Tubes:
    """The tubes of one line of points, (n, 3) with (n,) radii and signals: n - 1 capsules."""
    return Tubes(points[:-1], points[1:], radii[:-1], radii[1:], signal[1:])


def draw(tubes: Tubes, shape: tuple[int, int, int], affine: Affine) -> Drawn:
    """Work out the coverage of every touched voxel from FINER**3 sub-voxel centres.

    Args:
        tubes: in millimetres of the affine's world.
        shape: of the volume.
        affine: (4, 4), diagonal but for its offset: the volume's axes are the world's.
    """
    spacing = np.diagonal(affine)[:3] / FINER
    # The centre of sub-voxel 0 lies half a voxel less half a sub-voxel before the centre of voxel 0.
    origin = affine[:3, 3] - spacing * (FINER - 1) / 2
    fine_shape = np.asarray(shape) * FINER
    starts, ends = (tubes.starts - origin) / spacing, (tubes.ends - origin) / spacing
    reach = np.maximum(tubes.start_radii, tubes.end_radii)[:, None] / spacing
    low = np.maximum(np.ceil(np.minimum(starts, ends) - reach), 0).astype(np.int64)
    high = np.minimum(np.floor(np.maximum(starts, ends) + reach), fine_shape - 1).astype(np.int64)
    sizes = np.maximum(high - low + 1, 0)
    counts = sizes.prod(axis=1)
    inside = np.flatnonzero(counts)
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
    """Sub-voxels (3, m) of the chosen tubes' boxes that lie in the tubes, and the tube (m,) of each."""
    # 32 bits do: a chunk has few more than _CHUNK sub-voxels, and no axis has as many. Half the memory, twice the speed.
    sizes, low = sizes.astype(np.int32), low.astype(np.int32)
    counts = sizes.prod(axis=1, dtype=np.int32)
    which = np.repeat(np.arange(len(chosen), dtype=np.int32), counts)
    rank = np.arange(len(which), dtype=np.int32) - np.repeat(np.cumsum(counts, dtype=np.int32) - counts, counts)
    rank, third = np.divmod(rank, sizes[which, 2])
    first, second = np.divmod(rank, sizes[which, 1])
    cell = np.stack([first, second, third]) + low.T[:, which]
    point = cell.astype(np.float32) * spacing[:, None].astype(np.float32) + origin[:, None].astype(np.float32)
    axis = (tubes.ends - tubes.starts)[chosen]
    length = np.maximum((axis**2).sum(axis=1), 1e-12)
    start, axis32 = tubes.starts[chosen].T.astype(np.float32), axis.T.astype(np.float32)
    offset = point - start[:, which]
    place = np.clip(np.einsum("kn,kn->n", offset, axis32[:, which]) / length.astype(np.float32)[which], 0, 1)
    away = offset - place * axis32[:, which]
    first_radius, last_radius = tubes.start_radii[chosen].astype(np.float32), tubes.end_radii[chosen].astype(np.float32)
    radius = first_radius[which] + place * (last_radius - first_radius)[which]
    hit = np.einsum("kn,kn->n", away, away) <= radius**2
    return cell[:, hit], chosen[which[hit]]


def _gather(cells: NDArray[np.int64], owners: NDArray[np.int64], signal: Values, shape: tuple[int, int, int]) -> Drawn:
    """Count sub-voxels per voxel, each once."""
    # Tubes come in the order of their importance and chunks keep it, so the first hit of a cell is the one that counts.
    cells, first = np.unique(cells, return_index=True)
    values = signal[owners[first]]
    fine = np.unravel_index(cells, tuple(size * FINER for size in shape))
    parents = np.ravel_multi_index(tuple(index // FINER for index in fine), shape)
    voxels, place = np.unique(parents, return_inverse=True)
    count = np.bincount(place, minlength=len(voxels)).astype(np.float64)
    return Drawn(voxels.astype(np.int64), count / FINER**3, np.bincount(place, values, minlength=len(voxels)) / np.maximum(count, 1))
