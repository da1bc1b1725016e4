"""Draw the centres of patches in a scan, with its vessel label or without, and cut a square around a voxel.

Patches are centred on three kinds of voxels. Vessels fill about 1% of the brain, so centres drawn uniformly in the brain would show hardly
any vessel, while patches centred only on vessels would teach networks that every patch has a vessel in its centre. Bright voxels outside
vessels are sampled on purpose, because networks confuse them with vessels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from angiosynth.arrays import Mask
from angiosynth.data.intensity import Scan
from angiosynth.errors import InputError
from angiosynth.runtime.progress import say
from angiosynth.settings import PatchSettings

BRIGHT_QUANTILE = 0.99

Centres: TypeAlias = NDArray[np.int64]  # (k, 3) voxel indices x, y, z of the canonical volume
Kinds: TypeAlias = Sequence[tuple[str, Callable[[], Mask], int]]  # name, voxels that may be centres, number of patches


def draw_centres(scan: Scan, patches: PatchSettings) -> tuple[Centres, list[str]]:
    """Draw the centres of patches in one labelled scan.

    Args:
        scan: a scan with a label.
        patches: size, number of patches of each kind, seed.

    Returns:
        Centres (k, 3), voxel indices x, y, z, and the kind of each (k,): first "vessel", then "bright", then "brain".

    Raises:
        InputError: the scan has no label or is smaller than a patch.
    """
    label = scan.label
    if label is None:
        raise InputError(f"{scan.path}: has no vessel label, so no patches; take {scan.patient} out of the training patients")
    on_vessels, on_bright = ("vessel", lambda: label, patches.on_vessels), ("bright", lambda: bright_lookalikes(scan), patches.on_bright)
    return _draw_kinds(scan, patches, (on_vessels, on_bright))


def draw_unlabelled_centres(scan: Scan, patches: PatchSettings) -> tuple[Centres, list[str]]:
    """Draw the centres of patches without the label: on the brightest hundredth of the brain in place of vessels and their look-alikes.

    Args:
        scan: a scan; a label is not looked at.
        patches: size, number of patches of each kind, seed.

    Returns:
        Centres (k, 3) and the kind of each (k,): first "bright", then "brain".

    Raises:
        InputError: the scan is smaller than a patch.
    """
    return _draw_kinds(scan, patches, (("bright", lambda: bright_voxels(scan.image, scan.brain), patches.on_vessels + patches.on_bright),))


def _draw_kinds(scan: Scan, patches: PatchSettings, kinds: Kinds) -> tuple[Centres, list[str]]:
    """Draw centres of each kind, then `in_brain` anywhere in the brain."""
    if min(scan.image.shape[:2]) < patches.size:
        raise InputError(f"{scan.path}: slices of {scan.image.shape[:2]} are smaller than a patch of {patches.size}; lower patches.size")
    seed = int.from_bytes(hashlib.sha256(f"{patches.seed}/{scan.patient}".encode()).digest()[:16], "big")
    rng = np.random.default_rng(seed)
    free = scan.brain.copy()  # brain voxels that are not yet centres
    centres: list[Centres] = []
    drawn_kinds: list[str] = []
    for kind, mask, count in (*kinds, ("brain", lambda: scan.brain, patches.in_brain)):
        drawn = _draw(free & mask() if count else free, count, rng)  # a mask takes up to a second
        free[tuple(drawn.T)] = False  # no voxel is a centre twice
        if len(drawn) < count:
            say(f"{scan.path}: {len(drawn)} patches on {kind} voxels instead of {count}, there are no more")
        centres.append(drawn)
        drawn_kinds += [kind] * len(drawn)
    return np.concatenate(centres), drawn_kinds


def bright_lookalikes(scan: Scan) -> Mask:
    """Brain voxels (x, y, z) that a threshold would confuse with vessels: the brightest hundredth of the voxels away from the label.

    These are venous sinuses, veins and choroid plexus. Random patches rarely contain them, and a GAN that has rarely seen them labels them
    as vessels. Partial volume at vessel walls is bright too, so voxels within two steps of the label are excluded.
    """
    assert scan.label is not None
    away = scan.brain & ~binary_dilation(scan.label, iterations=2)
    return bright_voxels(scan.image, away)


def bright_voxels(image: NDArray[Any], within: Mask) -> Mask:
    """The brightest hundredth of the voxels of a mask (x, y, z)."""
    values = image[within]
    return within & (image >= np.quantile(values, BRIGHT_QUANTILE)) if values.size else within


def _draw(candidates: Mask, count: int, rng: np.random.Generator) -> Centres:
    """Draw `count` distinct voxels (k, 3) of a mask, or all of them if there are fewer.

    Random ranks among the candidates, counted slice by slice, are drawn first. Indices are then listed only for the slices that were hit:
    indices of all voxels of a brain would take hundreds of megabytes.
    """
    ends = np.cumsum(np.count_nonzero(candidates, axis=(0, 1)))
    total = int(ends[-1])
    ranks = np.sort(rng.choice(total, min(count, total), replace=False)) if total else np.zeros(0, np.int64)
    slices = np.searchsorted(ends, ranks, side="right")
    drawn: list[Centres] = [np.zeros((0, 3), np.int64)]
    for z in np.unique(slices):
        within = ranks[slices == z] - (ends[z - 1] if z else 0)
        plane = np.argwhere(candidates[:, :, z])[within]
        drawn.append(np.column_stack([plane, np.full(len(plane), z)]))
    return np.concatenate(drawn)


def cut_square(plane: NDArray[Any], x: int, y: int, size: int, outside: float) -> NDArray[Any]:
    """Cut a square out of a slice.

    Args:
        plane: (x, y).
        x, y: the voxel that becomes element [size // 2, size // 2] of the square.
        size: side of the square in voxels.
        outside: value of pixels beyond the border of the slice.

    Returns:
        (size, size), with the dtype of the slice.
    """
    square = np.full((size, size), outside, plane.dtype)
    left, front = x - size // 2, y - size // 2
    inside = plane[max(left, 0) : left + size, max(front, 0) : front + size]
    square[max(-left, 0) :, max(-front, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return square
