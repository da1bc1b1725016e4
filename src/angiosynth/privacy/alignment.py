"""Find the pose in which a real patch matches an image: one of the eight symmetries of the square, a small rotation, a small shift.

A coarse search (`memorisation`) proposes a few real patches for each image, each with a symmetry. This module evaluates every proposal on
a grid of rotations and whole-pixel shifts. The pose with the smallest mean square difference is then refined twice on finer grids around
it. A grid is used instead of an optimiser because the error has many local minima in rotation and shift, and because the same grid for
every patch makes distances to training patients and to others comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from angiosynth.compute.precision import device
from angiosynth.privacy.nearest import SIDE, Indices
from angiosynth.runtime.progress import progress

MIRRORED = 4  # number of the left-right mirror image among the eight symmetries; a GAN with `flip` is trained on it too
MAX_SHIFT = 2  # pixels of an image of side 32
ROTATIONS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # degrees, in addition to the quarter turns
REFINEMENTS = ((2.5, 0.5), (1.25, 0.25))  # steps in degrees and pixels around the best pose of the grid
SYMMETRIES = range(8)
CHUNK = 64  # images aligned at once


@dataclass(frozen=True)
class Poses:
    """Poses of n real patches on their images.

    Attributes:
        symmetry: (n,) number, as in `transformed`, of the symmetry that maps the image onto the real patch.
        degrees: (n,) rotation of the real patch, applied after the symmetry is undone.
        shift: (n, 2) shift of the real patch after the rotation, as a fraction of the side of a patch.
    """

    symmetry: Indices
    degrees: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of_symmetry(cls, symmetry: Indices) -> Poses:
        """Return poses of these symmetries (n,), without rotation and shift."""
        return cls(symmetry, np.zeros(len(symmetry)), np.zeros((len(symmetry), 2)))

    def select(self, rows: Indices) -> Poses:
        return Poses(self.symmetry[rows], self.degrees[rows], self.shift[rows])


@dataclass(frozen=True)
class Matches:
    """The nearest real patch of each of n images: its distance (n,), its row (n,) among the references, and its pose on the image."""

    distance: NDArray[np.float64]
    row: Indices
    poses: Poses

    def select(self, rows: Indices) -> Matches:
        return Matches(self.distance[rows], self.row[rows], self.poses.select(rows))


@dataclass(frozen=True)
class Candidates:
    """The k nearest references of each of n images by coarse distance, nearest first: distance, row and symmetry, (n, k) each."""

    distance: NDArray[np.float64]
    row: Indices
    symmetry: Indices

    def select(self, images: Indices) -> Candidates:
        return Candidates(self.distance[images], self.row[images], self.symmetry[images])


def align(images: Tensor, references: Tensor, candidates: Candidates, description: str) -> Matches:
    """Return for each image the candidate with the smallest distance, in the pose with the smallest distance.

    Distances are root mean squares over the centre of the image, which every rotated and shifted patch covers.

    Args:
        images: (n, side, side) in [-1, 1].
        references: (m, side, side) in [-1, 1].
        candidates: at least one candidate for each image.
        description: text of the progress bar.
    """
    chunks = np.array_split(np.arange(len(images)), -(-len(images) // CHUNK)) if len(images) else []
    aligned = [_align_chunk(images[rows], references, candidates.select(rows)) for rows in progress(chunks, description, len(chunks))]
    if not aligned:
        return Matches(np.zeros(0), np.zeros(0, np.int64), Poses.of_symmetry(np.zeros(0, np.int64)))
    distance, row, symmetry, degrees, shift = (np.concatenate(column) for column in zip(*aligned, strict=True))
    return Matches(distance, row, Poses(symmetry, degrees, shift))


def warp_onto(real: Tensor, images: Tensor, poses: Poses) -> Tensor:
    """Move each real patch (n, side, side) into its pose; pixels that it does not cover are taken from its image (n, side, side).

    A distance between the result and the image thus counts only pixels that both show.
    """
    degrees, shift = torch.from_numpy(poses.degrees).float(), torch.from_numpy(poses.shift).float() * images.shape[1]
    return _warp(_undo_symmetry(real, torch.from_numpy(poses.symmetry)), images, degrees, shift)


def transformed(images: Tensor, symmetry: int) -> Tensor:
    """Return images (..., x, y) under one of the eight symmetries of the square: four quarter turns, then those of the mirror image."""
    return torch.rot90(images.flip(-2) if symmetry >= MIRRORED else images, symmetry % 4, (-2, -1))


def rotate_and_shift(images: Tensor, degrees: float, x: float, y: float) -> Tensor:
    """Rotate images (n, side, side) about their centre and shift them by pixels; pixels that become vacant keep their values."""
    pose = images.new_tensor([degrees, x, y]).expand(len(images), 3)
    return _warp(images, images, pose[:, 0], pose[:, 1:])


def _undo_symmetry(images: Tensor, symmetry: Tensor) -> Tensor:
    """Invert `transformed`: apply to each image (n, side, side) the inverse of its symmetry (n,)."""
    upright = torch.empty_like(images)
    for number in range(8):
        rows = symmetry == number
        straight = torch.rot90(images[rows], -(number % 4), (-2, -1))
        upright[rows] = straight.flip(-2) if number >= MIRRORED else straight
    return upright


def _align_chunk(images: Tensor, references: Tensor, candidates: Candidates) -> tuple[NDArray[Any], ...]:
    """Distance, row, symmetry and degrees, (n,) each, and shift (n, 2) of the best candidate of each image."""
    n, k = candidates.row.shape
    side = images.shape[1]
    symmetry = torch.from_numpy(candidates.symmetry).flatten()
    real = _undo_symmetry(references[torch.from_numpy(candidates.row).flatten()], symmetry).to(device())
    targets = images.to(device())
    unit = max(1, round(side / SIDE))  # pixels of these images for one pixel of an image of side 32
    # Grid search: all k candidates of an image in all poses are compared at once, so one argmin gives both the candidate and its pose.
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    poses = [(degrees, unit * x, unit * y) for degrees in ROTATIONS for x in shifts for y in shifts]
    error = _grid_errors(real, targets.repeat_interleave(k, 0), unit).view(n, k * len(poses))
    best = error.argmin(dim=1).cpu()
    chosen = torch.arange(n) * k + best // len(poses)
    start = torch.tensor(poses)[best % len(poses)].to(targets)
    # Refinement of the best candidate of each image.
    smallest, pose = _refine(real[chosen.to(device())], targets, error.min(dim=1).values, start, unit)
    degrees, shift = pose[:, 0].double().cpu().numpy(), pose[:, 1:].double().cpu().numpy() / side
    return smallest.sqrt().double().cpu().numpy(), candidates.row.flatten()[chosen.numpy()], symmetry[chosen].numpy(), degrees, shift


def _grid_errors(real: Tensor, targets: Tensor, unit: int) -> Tensor:
    """Mean square differences (n, rotations * shifts) for every rotation and every shift by whole pixels, in the order of the loops."""
    middle, reach = _middle(targets), unit * MAX_SHIFT
    target_centres = targets[:, middle, middle].contiguous()
    size = target_centres.shape[-1]
    no_shift = torch.zeros(len(real), 2, device=real.device)
    errors = []
    for degrees in ROTATIONS:
        # Interpolate once for each rotation: whole-pixel shifts are windows of the rotated patch, exact and cheap. Circular padding is for
        # the smallest patches, whose centre plus the largest shift exceeds the patch.
        rotated = _warp(real, targets, torch.full_like(no_shift[:, 0], degrees), no_shift)
        padded = F.pad(rotated[:, None], (reach,) * 4, mode="circular")[:, 0]
        for x in range(-MAX_SHIFT, MAX_SHIFT + 1):
            for y in range(-MAX_SHIFT, MAX_SHIFT + 1):
                rows, columns = (slice(start, start + size) for start in (middle.start + reach - unit * x, middle.start + reach - unit * y))
                errors.append((padded[:, rows, columns] - target_centres).square_().mean(dim=(1, 2)))
    return torch.stack(errors, dim=1)


def _refine(real: Tensor, targets: Tensor, smallest: Tensor, pose: Tensor, unit: int) -> tuple[Tensor, Tensor]:
    """Search finer grids around each patch's best pose.

    Args:
        real: (n, side, side) real patches with their symmetry undone.
        targets: (n, side, side) their images.
        smallest: (n,) mean square difference in the best pose so far.
        pose: (n, 3) that pose: degrees, x and y in pixels.
        unit: pixels of these images for one pixel of an image of side 32.

    Returns:
        Mean square differences (n,) and poses (n, 3).
    """
    middle = _middle(targets)
    target_centres = targets[:, middle, middle].contiguous()
    for degrees, pixels in REFINEMENTS:
        steps = torch.cartesian_prod(*(torch.tensor([-1.0, 0.0, 1.0]) * size for size in (degrees, unit * pixels, unit * pixels)))
        centre = pose
        for step in steps.to(pose):
            trial = centre + step
            warped = _warp(real, target_centres, trial[:, 0], trial[:, 1:], middle)
            error = (warped - target_centres).square().mean(dim=(1, 2))
            pose = torch.where((error < smallest)[:, None], trial, pose)
            smallest = torch.minimum(error, smallest)
    return smallest, pose


def _middle(images: Tensor) -> slice:
    """The central three quarters of an axis, which a patch covers in every allowed pose."""
    side = images.shape[1]
    return slice(math.ceil(side / 8), side - math.ceil(side / 8))


def _warp(real: Tensor, images: Tensor, degrees: Tensor, shift: Tensor, region: slice = slice(None)) -> Tensor:
    """Rotate patches (n, side, side) about their centre by degrees (n,), then shift them by (n, 2) pixels.

    Pixels that a patch does not cover are taken from `images`. With a region, the same for both axes, only its pixels are computed, and
    `images` have the size of the region.
    """
    side = real.shape[1]
    # grid_sample takes the inverse map, from output to input, in units of half a side, and its x is the last axis. The map is written
    # out, since for small patches affine_grid takes as long as the rest of this function.
    cos, sin = (ratio(torch.deg2rad(degrees))[:, None, None] for ratio in (torch.cos, torch.sin))
    down, right = (2.0 * shift / side)[:, :, None, None].unbind(dim=1)
    centres = ((2.0 * torch.arange(side, device=real.device) + 1.0) / side - 1.0)[region]
    x, y = centres - right, centres[:, None] - down
    grid = x.new_empty(len(real), y.shape[1], x.shape[2], 2)
    across = torch.sub(cos * x, sin * y, out=grid[..., 0])
    along = torch.add(sin * x, cos * y, out=grid[..., 1])
    value = F.grid_sample(real[:, None], grid, align_corners=False)[:, 0]
    # Fraction of an output pixel that the patch covers: the bilinear weights that fall on the patch, whose outermost pixel centres are
    # half a pixel from its border.
    overhang = [(axis.abs() - (1.0 - 1.0 / side)).mul_(side / 2).clamp_(0.0, 1.0) for axis in (across, along)]
    return torch.where((1.0 - overhang[0]) * (1.0 - overhang[1]) > 0.999, value, images)
