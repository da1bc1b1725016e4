"""Random differentiable transformations of the pairs that a critic scores, with one distribution for real and generated pairs.

With few training pairs a critic memorises them. If each pair is transformed at random before it is scored, the critic sees many variants
of it instead. Gradients flow to the generator through the transformations. The generator does not learn to produce transformed pairs as
long as each transformation is skipped often enough, because the distributions can then only match if the untransformed ones do
(Karras et al. 2020, "Training generative adversarial networks with limited data", section 2.2; Zhao et al. 2020, "Differentiable
augmentation for data-efficient GAN training").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from angiosynth.compute.distributed import local_rows, world_size
from angiosynth.compute.draws import Draws

SHIFT = 0.125  # largest shift, as a fraction of the side (Zhao et al. 2020)
ANGLE, SHEAR = math.radians(15.0), 0.15  # largest rotation and shear
BRIGHTNESS = 0.2  # largest change of an image in [-1, 1]
CHOICES, AMOUNTS = 5, 6  # random numbers per pair
MIRROR, TURN, MOVE, SKEW, BRIGHTEN = range(CHOICES)


def augment(pairs: Tensor, probability: Tensor, draws: Draws) -> Tensor:
    """Transform each pair at random: mirror, quarter turns, shift, small rotation and shear, brightness.

    Each of the five is applied independently with the given probability. Image and label are moved together; beyond the edges the pair is
    continued by reflection. Brightness changes only the image, which is clipped to [-1, 1].

    Args:
        pairs: (n, 2, x, y), this process's rows of the batch.
        probability: scalar tensor on the device of `pairs`. The number of random draws does not depend on it.
        draws: gives the random numbers, on the device of `pairs`.

    Returns:
        (n, 2, x, y), differentiable once. Pairs without any transformation are returned bit for bit.
    """
    count = len(pairs) * world_size()
    applied = local_rows(draws.uniform(count, CHOICES)) < probability
    amounts = local_rows(draws.uniform(count, AMOUNTS)) * 2.0 - 1.0
    return transform(pairs, applied, amounts)


def transform(pairs: Tensor, applied: Tensor, amounts: Tensor) -> Tensor:
    """Apply the given transformations to the pairs.

    Args:
        pairs: (n, 2, x, y).
        applied: (n, 5) boolean, in the order MIRROR, TURN, MOVE, SKEW, BRIGHTEN.
        amounts: (n, 6) in [-1, 1): quarter turns, shift along y, shift along x, angle, shear, brightness.
    """
    with torch.autocast(pairs.device.type, enabled=False):  # eight bits of bfloat16 cannot tell the pixels of a side apart
        grid = F.affine_grid(maps(applied, amounts, pairs.shape[-1]), list(pairs.shape), align_corners=False)
        moved = F.grid_sample(pairs, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    shades = torch.where(applied[:, BRIGHTEN], amounts[:, 5] * BRIGHTNESS, 0.0).view(-1, 1, 1, 1)
    image, label = (moved[:, :1] + shades).clamp(-1.0, 1.0), moved[:, 1:]
    # Interpolation rounds even if the map is the identity, so untouched pairs are taken from the input.
    changed = applied.any(dim=1).view(-1, 1, 1, 1)
    return torch.where(changed, torch.cat([image, label], dim=1), pairs).contiguous(memory_format=torch.channels_last)


def maps(applied: Tensor, amounts: Tensor, side: int) -> Tensor:
    """Return the affine maps (n, 2, 3) from output to input coordinates, for `torch.nn.functional.affine_grid`.

    Args:
        applied, amounts: as in `transform`.
        side: side of the pairs in pixels. Shifts are rounded to whole pixels, so that they do not blur.
    """
    # one, two or three quarter turns with equal probability: matrices ((cos, sin), (-sin, cos)) of 0 and +-1, computed from their number,
    # because a CUDA graph cannot copy a table to the GPU
    number = torch.where(applied[:, TURN], ((amounts[:, 0] + 1.0) * 1.5).floor().long() + 1, 0)
    odd = number % 2
    cosine, sine = (1 - odd) * (1 - number), odd * (number - 2)
    linear = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2).to(amounts.dtype)
    # mirror along x, the second coordinate
    linear = linear * torch.stack([torch.ones_like(amounts[:, 0]), torch.where(applied[:, MIRROR], -1.0, 1.0)], dim=1)[:, None]
    # small rotation and shear: the only transformation that interpolates between pixels
    angle, shear = (torch.where(applied[:, SKEW], amounts[:, index] * most, 0.0) for index, most in ((3, ANGLE), (4, SHEAR)))
    cos, sin = angle.cos(), angle.sin()
    linear = linear @ torch.stack([cos, shear * cos - sin, sin, shear * sin + cos], dim=1).view(-1, 2, 2)
    # translation; `affine_grid` measures in units where the side is 2
    pixels = (torch.where(applied[:, MOVE, None], amounts[:, 1:3], 0.0) * SHIFT * side).round()
    return torch.cat([linear, (pixels * 2.0 / side)[:, :, None]], dim=2)
