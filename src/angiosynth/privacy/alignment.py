"""Laying a real patch on another one: mirrored, turned by quarters, then turned and moved a little."""

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
MOVE = 2  # pixels of an image of side 32
TURNS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # degrees, beside the quarter turns
FINER = ((2.5, 0.5), (1.25, 0.25))  # degrees and pixels by which the best of the turns and moves is then improved
CHUNK = 64


@dataclass(frozen=True)
class Poses:
    """How each of n real patches is laid on its image.

    symmetry (n,) is the one of the eight by which the *image* would lie as the real patch does; degrees (n,) and move (n, 2), in
    sides of a patch, are of the real patch after that symmetry was undone.
    """

    symmetry: Indices
    degrees: NDArray[np.float64]
    move: NDArray[np.float64]

    @classmethod
    def plain(cls, symmetry: Indices) -> Poses:
        """Neither turned nor moved."""
        return cls(symmetry, np.zeros(len(symmetry)), np.zeros((len(symmetry), 2)))

    def of(self, rows: Indices) -> Poses:
        return Poses(self.symmetry[rows], self.degrees[rows], self.move[rows])


@dataclass(frozen=True)
class Matches:
    """The nearest real patch of each of n images: distance (n,), row (n,) and how it is laid on the image."""

    distance: NDArray[np.float64]
    row: Indices
    poses: Poses

    def of(self, rows: Indices) -> Matches:
        return Matches(self.distance[rows], self.row[rows], self.poses.of(rows))


@dataclass(frozen=True)
class Candidates:
    """The nearest few references of each image: coarse distance, row and symmetry, (n, k) each, the nearest first."""

    distance: NDArray[np.float64]
    row: Indices
    symmetry: Indices

    def of(self, images: Indices) -> Candidates:
        return Candidates(self.distance[images], self.row[images], self.symmetry[images])


def align(images: Tensor, references: Tensor, candidates: Candidates, what: str) -> Matches:
    """Lay each image's candidates on it, by their symmetry and then by small turns and moves, coarse and then fine; the best is kept.

    Distances are root mean squares over the middle of the image, which every turned and moved patch covers.

    Args:
        images: (n, side, side) in [-1, 1].
        references: (m, side, side).
        candidates: of the images, at least one each.
        what: a few words for the progress.
    """
    parts = np.array_split(np.arange(len(images)), -(-len(images) // CHUNK)) if len(images) else []
    found = [_align(images[rows], references, candidates.of(rows)) for rows in progress(parts, what, len(parts))]
    if not found:
        return Matches(np.zeros(0), np.zeros(0, np.int64), Poses.plain(np.zeros(0, np.int64)))
    distance, row, symmetry, degrees, move = (np.concatenate(column) for column in zip(*found, strict=True))
    return Matches(distance, row, Poses(symmetry, degrees, move))


def laid(real: Tensor, onto: Tensor, poses: Poses) -> Tensor:
    """Each real patch (n, side, side) as it lies on its image (n, side, side): where it has nothing to show, the image's own pixels.

    Distances between the two are thus of what both show.
    """
    degrees, move = torch.from_numpy(poses.degrees).float(), torch.from_numpy(poses.move).float() * onto.shape[1]
    return _moved(_undone(real, torch.from_numpy(poses.symmetry)), onto, degrees, move)


def symmetries(images: Tensor) -> list[Tensor]:
    """The eight ways to lay a square: quarter turns of (..., x, y) and of its mirror image, which comes with number 4."""
    return [torch.rot90(side, quarter, (-2, -1)) for side in (images, images.flip(-2)) for quarter in range(4)]


def moved(images: Tensor, degrees: float, x: float, y: float) -> Tensor:
    """(n, side, side) turned about the middle and moved by pixels; where nothing comes in, what stood there stays."""
    places = images.new_tensor([degrees, x, y]).expand(len(images), 3)
    return _moved(images, images, places[:, 0], places[:, 1:])


def _undone(images: Tensor, symmetry: Tensor) -> Tensor:
    """Each of (n, side, side) before its symmetry was applied."""
    undone = torch.empty_like(images)
    for number in range(8):
        rows = symmetry == number
        straight = torch.rot90(images[rows], -(number % 4), (-2, -1))
        undone[rows] = straight.flip(-2) if number >= MIRRORED else straight
    return undone


def _align(images: Tensor, references: Tensor, candidates: Candidates) -> tuple[NDArray[Any], ...]:
    """distance, row, symmetry, degrees and move of the best candidate."""
    n, k = candidates.row.shape
    side = images.shape[1]
    symmetry = torch.from_numpy(candidates.symmetry).flatten()
    real = _undone(references[torch.from_numpy(candidates.row).flatten()], symmetry).to(device())
    wanted = images.to(device())
    unit = max(1, round(side / SIDE))
    places = [(degrees, unit * x, unit * y) for degrees in TURNS for x in range(-MOVE, MOVE + 1) for y in range(-MOVE, MOVE + 1)]
    error = _grid_errors(real, wanted.repeat_interleave(k, 0), unit).view(n, k * len(places))
    best = error.argmin(dim=1).cpu()
    chosen = torch.arange(n) * k + best // len(places)
    start = torch.tensor(places)[best % len(places)].to(wanted)
    least, place = _improved(real[chosen.to(device())], wanted, error.min(dim=1).values, start, unit)
    degrees, move = place[:, 0].double().cpu().numpy(), place[:, 1:].double().cpu().numpy() / side
    return least.sqrt().double().cpu().numpy(), candidates.row.flatten()[chosen.numpy()], symmetry[chosen].numpy(), degrees, move


def _grid_errors(real: Tensor, wanted: Tensor, unit: int) -> Tensor:
    """(n, turns * moves) mean squares of every turn and every move by whole pixels, in the order of the loops."""
    inside = _inside(wanted)
    aim = wanted[:, inside, inside]
    still = torch.zeros(len(real), 2, device=real.device)
    errors = []
    for degrees in TURNS:
        turned = _moved(real, wanted, torch.full_like(still[:, 0], degrees), still)
        for x in range(-MOVE, MOVE + 1):
            for y in range(-MOVE, MOVE + 1):
                # What leaves on one side comes in on the other, outside the middle.
                rolled = turned.roll((unit * x, unit * y), (1, 2))
                errors.append((rolled[:, inside, inside] - aim).square().mean(dim=(1, 2)))
    return torch.stack(errors, dim=1)


def _improved(real: Tensor, wanted: Tensor, least: Tensor, place: Tensor, unit: int) -> tuple[Tensor, Tensor]:
    """Mean squares and (degrees, x, y) after trying finer turns and moves around each patch's best."""
    inside = _inside(wanted)
    for degrees, pixels in FINER:
        steps = torch.cartesian_prod(*(torch.tensor([-1.0, 0.0, 1.0]) * size for size in (degrees, unit * pixels, unit * pixels)))
        centre = place
        for step in steps.to(place):
            trial = centre + step
            gap = (_moved(real, wanted, trial[:, 0], trial[:, 1:]) - wanted)[:, inside, inside]
            error = gap.square().mean(dim=(1, 2))
            place = torch.where((error < least)[:, None], trial, place)
            least = torch.minimum(error, least)
    return least, place


def _inside(images: Tensor) -> slice:
    side = images.shape[1]
    return slice(math.ceil(side / 8), side - math.ceil(side / 8))


def _moved(real: Tensor, onto: Tensor, degrees: Tensor, move: Tensor) -> Tensor:
    """(n, side, side) turned about the middle by degrees (n,), then moved by (n, 2) pixels; `onto` shows where nothing comes in."""
    side = real.shape[1]
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    down, right = (2.0 * move / side).unbind(dim=1)  # in grid_sample's units, whose x is the last axis
    rows = [torch.stack([cos, -sin, sin * down - cos * right], dim=1), torch.stack([sin, cos, -sin * right - cos * down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), [len(real), 1, side, side], align_corners=False)
    shown = torch.stack([real, torch.ones_like(real)], dim=1)
    value, share = F.grid_sample(shown, grid, align_corners=False).unbind(dim=1)
    return torch.where(share > 0.999, value, onto)
