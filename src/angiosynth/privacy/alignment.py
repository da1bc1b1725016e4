"""Find the pose in which a real patch matches an image: one of the eight symmetries of the square, a small rotation, a small shift.

How it works. A coarse search (`memorisation`) proposes a few real patches for each image, each with a symmetry. Here every proposal is
tried on a grid of rotations and whole-pixel shifts, and the pose with the least mean square difference is refined twice on finer
grids around it. A grid is used instead of an optimiser because the error has many local minima in rotation and shift, and because the
same grid for every patch makes distances to training patients and to others comparable.
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

MIRRORED = 4  # of the eight symmetries: mirrored left-right, as a GAN with `flip` sees a patch
MAX_SHIFT = 2  # pixels of an image of side 32
ROTATIONS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # degrees, beside the quarter turns
REFINEMENTS = ((2.5, 0.5), (1.25, 0.25))  # steps in degrees and pixels around the best pose of the grid
CHUNK = 64  # images aligned at once


@dataclass(frozen=True)
class Poses:
    """How each of n real patches lies on its image.

    symmetry (n,) is the symmetry that maps the image onto the real patch, a number of `symmetries`. degrees (n,) and shift (n, 2), in
    sides of a patch, move the real patch after that symmetry was undone.
    """

    symmetry: Indices
    degrees: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of_symmetry(cls, symmetry: Indices) -> Poses:
        """Neither rotated nor shifted."""
        return cls(symmetry, np.zeros(len(symmetry)), np.zeros((len(symmetry), 2)))

    def select(self, rows: Indices) -> Poses:
        return Poses(self.symmetry[rows], self.degrees[rows], self.shift[rows])


@dataclass(frozen=True)
class Matches:
    """The nearest real patch of each of n images: distance (n,), row (n,) and its pose on the image."""

    distance: NDArray[np.float64]
    row: Indices
    poses: Poses

    def select(self, rows: Indices) -> Matches:
        return Matches(self.distance[rows], self.row[rows], self.poses.select(rows))


@dataclass(frozen=True)
class Candidates:
    """The nearest few references of each image: coarse distance, row and symmetry, (n, k) each, the nearest first."""

    distance: NDArray[np.float64]
    row: Indices
    symmetry: Indices

    def select(self, images: Indices) -> Candidates:
        return Candidates(self.distance[images], self.row[images], self.symmetry[images])


def align(images: Tensor, references: Tensor, candidates: Candidates, description: str) -> Matches:
    """Choose for each image the candidate, and its pose, with the least distance.

    Distances are root mean squares over the middle of the image, which every rotated and shifted patch covers.

    Args:
        images: (n, side, side) in [-1, 1].
        references: (m, side, side).
        candidates: of the images, at least one each.
        description: a few words for the progress.
    """
    chunks = np.array_split(np.arange(len(images)), -(-len(images) // CHUNK)) if len(images) else []
    aligned = [_align_chunk(images[rows], references, candidates.select(rows)) for rows in progress(chunks, description, len(chunks))]
    if not aligned:
        return Matches(np.zeros(0), np.zeros(0, np.int64), Poses.of_symmetry(np.zeros(0, np.int64)))
    distance, row, symmetry, degrees, shift = (np.concatenate(column) for column in zip(*aligned, strict=True))
    return Matches(distance, row, Poses(symmetry, degrees, shift))


def warp_onto(real: Tensor, images: Tensor, poses: Poses) -> Tensor:
    """Move each real patch (n, side, side) into its pose; pixels that it does not reach are those of its image (n, side, side).

    So a distance between the two counts only pixels that both show.
    """
    degrees, shift = torch.from_numpy(poses.degrees).float(), torch.from_numpy(poses.shift).float() * images.shape[1]
    return _warp(_undo_symmetry(real, torch.from_numpy(poses.symmetry)), images, degrees, shift)


def symmetries(images: Tensor) -> list[Tensor]:
    """The eight symmetries of the square: quarter turns of (..., x, y), then those of its mirror image, which is number 4."""
    return [torch.rot90(side, quarter, (-2, -1)) for side in (images, images.flip(-2)) for quarter in range(4)]


def rotate_and_shift(images: Tensor, degrees: float, x: float, y: float) -> Tensor:
    """Rotate (n, side, side) about the middle and shift it by pixels; pixels that nothing moves to keep their values."""
    pose = images.new_tensor([degrees, x, y]).expand(len(images), 3)
    return _warp(images, images, pose[:, 0], pose[:, 1:])


def _undo_symmetry(images: Tensor, symmetry: Tensor) -> Tensor:
    """The inverse of `symmetries`: each of (n, side, side) before its symmetry was applied."""
    undone = torch.empty_like(images)
    for number in range(8):
        rows = symmetry == number
        straight = torch.rot90(images[rows], -(number % 4), (-2, -1))
        undone[rows] = straight.flip(-2) if number >= MIRRORED else straight
    return undone


def _align_chunk(images: Tensor, references: Tensor, candidates: Candidates) -> tuple[NDArray[Any], ...]:
    """distance, row, symmetry, degrees and shift of the best candidate, (n,) each and (n, 2)."""
    n, k = candidates.row.shape
    side = images.shape[1]
    symmetry = torch.from_numpy(candidates.symmetry).flatten()
    real = _undo_symmetry(references[torch.from_numpy(candidates.row).flatten()], symmetry).to(device())
    targets = images.to(device())
    unit = max(1, round(side / SIDE))  # pixels of these images in one of an image of side 32
    # The grid: all k candidates of an image in all poses compete, so one argmin gives both the candidate and its pose.
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    poses = [(degrees, unit * x, unit * y) for degrees in ROTATIONS for x in shifts for y in shifts]
    error = _grid_errors(real, targets.repeat_interleave(k, 0), unit).view(n, k * len(poses))
    best = error.argmin(dim=1).cpu()
    chosen = torch.arange(n) * k + best // len(poses)
    start = torch.tensor(poses)[best % len(poses)].to(targets)
    # Only the best candidate of each image is refined.
    least, pose = _refine(real[chosen.to(device())], targets, error.min(dim=1).values, start, unit)
    degrees, shift = pose[:, 0].double().cpu().numpy(), pose[:, 1:].double().cpu().numpy() / side
    return least.sqrt().double().cpu().numpy(), candidates.row.flatten()[chosen.numpy()], symmetry[chosen].numpy(), degrees, shift


def _grid_errors(real: Tensor, targets: Tensor, unit: int) -> Tensor:
    """(n, rotations * shifts) mean squares for every rotation and every shift by whole pixels, in the order of the loops."""
    middle, reach = _middle(targets), unit * MAX_SHIFT
    aim = targets[:, middle, middle].contiguous()
    size = aim.shape[-1]
    still = torch.zeros(len(real), 2, device=real.device)
    errors = []
    for degrees in ROTATIONS:
        # One interpolation for each rotation: whole-pixel shifts of it are exact and cheap, windows of the rotated patch. It is continued
        # by its other side for the smallest patches, whose middle with all shifts is larger than they are.
        rotated = _warp(real, targets, torch.full_like(still[:, 0], degrees), still)
        continued = F.pad(rotated[:, None], (reach,) * 4, mode="circular")[:, 0]
        for x in range(-MAX_SHIFT, MAX_SHIFT + 1):
            for y in range(-MAX_SHIFT, MAX_SHIFT + 1):
                rows, columns = (slice(start, start + size) for start in (middle.start + reach - unit * x, middle.start + reach - unit * y))
                errors.append((continued[:, rows, columns] - aim).square_().mean(dim=(1, 2)))
    return torch.stack(errors, dim=1)


def _refine(real: Tensor, targets: Tensor, least: Tensor, pose: Tensor, unit: int) -> tuple[Tensor, Tensor]:
    """Mean squares (n,) and poses (n, 3) of degrees, x, y after trying finer steps around each patch's best pose."""
    middle = _middle(targets)
    aim = targets[:, middle, middle].contiguous()
    for degrees, pixels in REFINEMENTS:
        steps = torch.cartesian_prod(*(torch.tensor([-1.0, 0.0, 1.0]) * size for size in (degrees, unit * pixels, unit * pixels)))
        centre = pose
        for step in steps.to(pose):
            trial = centre + step
            error = (_warp(real, aim, trial[:, 0], trial[:, 1:], middle) - aim).square().mean(dim=(1, 2))
            pose = torch.where((error < least)[:, None], trial, pose)
            least = torch.minimum(error, least)
    return least, pose


def _middle(images: Tensor) -> slice:
    """The three quarters of each axis that no allowed pose leaves empty."""
    side = images.shape[1]
    return slice(math.ceil(side / 8), side - math.ceil(side / 8))


def _warp(real: Tensor, images: Tensor, degrees: Tensor, shift: Tensor, region: slice = slice(None)) -> Tensor:
    """Rotate (n, side, side) about the middle by degrees (n,), then shift by (n, 2) pixels; pixels of `images` where nothing arrives.

    With a region, of both axes, its pixels alone are computed; `images` are then those of the region.
    """
    side = real.shape[1]
    # grid_sample asks for the inverse map, from output to input, in units of half a side, and its x is the last axis. It is written
    # out, since affine_grid takes as long for small patches as all else here together.
    cos, sin = (ratio(torch.deg2rad(degrees))[:, None, None] for ratio in (torch.cos, torch.sin))
    down, right = (2.0 * shift / side)[:, :, None, None].unbind(dim=1)
    centres = ((2.0 * torch.arange(side, device=real.device) + 1.0) / side - 1.0)[region]
    x, y = centres - right, centres[:, None] - down
    grid = x.new_empty(len(real), y.shape[1], x.shape[2], 2)
    across = torch.sub(cos * x, sin * y, out=grid[..., 0])
    along = torch.add(sin * x, cos * y, out=grid[..., 1])
    value = F.grid_sample(real[:, None], grid, align_corners=False)[:, 0]
    # How much of a pixel the patch covers: the weights of the bilinear mean that lie on the patch, whose outermost centres are half a
    # pixel from its border.
    overhang = [(axis.abs() - (1.0 - 1.0 / side)).mul_(side / 2).clamp_(0.0, 1.0) for axis in (across, along)]
    return torch.where((1.0 - overhang[0]) * (1.0 - overhang[1]) > 0.999, value, images)
