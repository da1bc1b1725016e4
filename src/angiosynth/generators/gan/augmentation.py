"""Random transformations of the pairs that a critic scores, differentiable, the same for real and for generated pairs.

A critic that has seen every training pair many times tells it from a generated one by heart. If each pair is transformed at random before
it is scored, the critic sees many forms of it. Gradients reach the generator through the transformations; it does not learn to draw
transformed pairs as long as each transformation is left out often enough (Karras et al. 2020, "Training generative adversarial networks
with limited data", section 2.2; Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from angiosynth.compute.distributed import local_rows, world_size

SHIFT = 0.125  # largest, over the side (Zhao et al. 2020)
ANGLE, SHEAR = math.radians(15.0), 0.15
BRIGHTNESS = 0.2  # largest change of an image in [-1, 1]
CHOICES, AMOUNTS = 5, 6  # random numbers that each pair takes
MIRROR, TURN, MOVE, SKEW, BRIGHTEN = range(CHOICES)
QUARTERS = ((1.0, 0.0, 0.0, 1.0), (0.0, -1.0, 1.0, 0.0), (-1.0, 0.0, 0.0, -1.0), (0.0, 1.0, -1.0, 0.0))  # 2x2 matrices by rows


def augment(pairs: Tensor, probability: Tensor, random: torch.Generator) -> Tensor:
    """Transform each pair at random: mirrored, turned by quarters, shifted, turned and sheared a little, brighter or darker.

    Each of the five is applied with the given probability. Image and label move together; beyond the edge the pair is mirrored.
    Brightness changes the image alone, which stays within [-1, 1].

    Args:
        pairs: (n, 2, x, y), this process's rows of the batch.
        probability: scalar tensor on the device of `pairs`. It does not change how many random numbers are drawn.
        random: a generator on the CPU.

    Returns:
        (n, 2, x, y), differentiable once. A pair to which nothing was applied is returned bit for bit.
    """
    count = len(pairs) * world_size()
    applied = local_rows(torch.rand(count, CHOICES, generator=random)).to(pairs.device) < probability
    amounts = local_rows(torch.rand(count, AMOUNTS, generator=random)).to(pairs.device) * 2.0 - 1.0
    return transform(pairs, applied, amounts)


def transform(pairs: Tensor, applied: Tensor, amounts: Tensor) -> Tensor:
    """The pairs, transformed as given.

    Args:
        pairs: (n, 2, x, y).
        applied: (n, 5), truth values in the order MIRROR, TURN, MOVE, SKEW, BRIGHTEN.
        amounts: (n, 6) in [-1, 1): quarter turns, shift along y, shift along x, angle, shear, brightness.
    """
    grid = F.affine_grid(maps(applied, amounts, pairs.shape[-1]), list(pairs.shape), align_corners=False)
    moved = F.grid_sample(pairs, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    shades = torch.where(applied[:, BRIGHTEN], amounts[:, 5] * BRIGHTNESS, 0.0).view(-1, 1, 1, 1)
    image, label = (moved[:, :1] + shades).clamp(-1.0, 1.0), moved[:, 1:]
    # Interpolation rounds even where the map is the identity.
    changed = applied.any(dim=1).view(-1, 1, 1, 1)
    return torch.where(changed, torch.cat([image, label], dim=1), pairs).contiguous(memory_format=torch.channels_last)


def maps(applied: Tensor, amounts: Tensor, side: int) -> Tensor:
    """The affine maps from output to input coordinates, (n, 2, 3), for `torch.nn.functional.affine_grid`.

    Args:
        applied, amounts: as in `transform`.
        side: of the pairs in pixels; shifts are whole pixels, so that they do not blur.
    """
    # quarter turns: one, two or three, equally often
    number = torch.where(applied[:, TURN], ((amounts[:, 0] + 1.0) * 1.5).floor().long() + 1, 0)
    linear = torch.tensor(QUARTERS, device=amounts.device).view(4, 2, 2)[number]
    # mirrored along x, the second coordinate
    linear = linear * torch.stack([torch.ones_like(amounts[:, 0]), torch.where(applied[:, MIRROR], -1.0, 1.0)], dim=1)[:, None]
    # a small turn and shear: the only map that interpolates
    angle, shear = (torch.where(applied[:, SKEW], amounts[:, index] * most, 0.0) for index, most in ((3, ANGLE), (4, SHEAR)))
    cos, sin = angle.cos(), angle.sin()
    linear = linear @ torch.stack([cos, shear * cos - sin, sin, shear * sin + cos], dim=1).view(-1, 2, 2)
    # in these coordinates the side is 2
    pixels = (torch.where(applied[:, MOVE, None], amounts[:, 1:3], 0.0) * SHIFT * side).round()
    return torch.cat([linear, (pixels * 2.0 / side)[:, :, None]], dim=2)
