"""Random rotation, shear and mirroring: one affine map per sample, bilinear interpolation of images, nearest-neighbour of labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ROTATION = math.radians(30.0)
SHEAR = math.radians(20.0)


def augment(image: Tensor, label: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rotate by up to 30 degrees, shear by up to 20 degrees, mirror half of the samples (Livne et al. 2019).

    Args:
        image: (n, 1, x, y) in [-1, 1]; pixels from outside the patch become -1, the value outside the brain.
        label: (n, 1, x, y), 0 or 1.
        random: draws the maps.

    Returns:
        Image and label of the same shapes and ranges.
    """
    maps = random_maps(len(image), random).to(image.device)
    grid = F.affine_grid(maps, list(image.shape), align_corners=False)
    # `grid_sample` pads with zeros, so the image is shifted by 1 to make its background zero, and shifted back.
    warped = F.grid_sample(image + 1.0, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1.0
    return warped, F.grid_sample(label, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def random_maps(count: int, random: torch.Generator) -> Tensor:
    """Draw affine maps (count, 2, 3) from output to input coordinates, the product of mirroring, rotation and shear."""
    draws = torch.rand(count, 3, generator=random) * 2.0 - 1.0
    angle, shear = draws[:, 0] * ROTATION, torch.tan(draws[:, 1] * SHEAR)
    mirror = torch.where(draws[:, 2] < 0, -1.0, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(count)
    rows = [torch.stack([cos, shear * cos - sin, zero], dim=1), torch.stack([mirror * sin, mirror * (shear * sin + cos), zero], dim=1)]
    return torch.stack(rows, dim=1)
