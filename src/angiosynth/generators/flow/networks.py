"""Velocity network: a U-net with residual blocks modulated by time, and self-attention at the coarsest resolution.

Residual blocks follow the ablated diffusion model of Dhariwal and Nichol 2021: twice group norm, SiLU and a 3x3 convolution, where the
second norm is scaled and shifted by the embedded time. Sides of the input must be multiples of packing * 2**(levels - 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 2  # image and label
GROUPS, LEAST_GROUP = 8, 4  # maximum number of groups of a norm, and minimum number of channels in a group
HEAD = 32  # channels of an attention head
WIDEST = 4  # channels of the coarsest levels, as a multiple of the width
FREQUENCIES = 16  # of the time embedding
SLOWEST, FASTEST = math.pi / 2, 128 * math.pi  # angular frequencies, radians between times 0 and 1


class VelocityNet(nn.Module):
    """Map noisy pairs (n, 2, x, y) and times (n,) or (1,) in [0, 1] to a field (n, 2, x, y). The field is zero before training.

    Args:
        width: channels of the finest level; they double at each level up to four times the width.
        levels: number of resolutions; each halves the sides.
        packing: side of the pixel blocks that are rearranged into channels at the input and back at the output. With 2 the finest level has
            a quarter of the positions, so that four times the channels take the same elementwise work.
        patch_size: side of the patches in pixels. A learnt map of this size encodes positions, since many patches are centred on a vessel.
    """

    def __init__(self, width: int, levels: int, packing: int, patch_size: int) -> None:
        super().__init__()
        self.packing = packing
        channels = [width * min(2**level, WIDEST) for level in range(levels)]
        embedded = 4 * width
        self.time = TimeEmbedding(embedded)
        self.first = nn.Conv2d(CHANNELS * packing**2, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(1, width, patch_size // packing, patch_size // packing))
        self.down = nn.ModuleList(ResidualBlock(a, b, embedded) for a, b in zip([width, *channels[:-1]], channels, strict=True))
        self.middle = ResidualBlock(channels[-1], channels[-1], embedded)
        self.attention = Attention(channels[-1])
        self.up = nn.ModuleList(ResidualBlock(a, b, embedded) for a, b in zip(channels, [width, *channels[:-1]], strict=True))
        self.norm = group_norm(width)
        self.last = zeroed(nn.Conv2d(width, CHANNELS * packing**2, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        embedded = self.time(time)
        # pixel blocks to channels, first convolution, position map
        x = self.first(F.pixel_unshuffle(x, self.packing)) + self.place
        # downwards: halve the sides before every level except the first, and keep the features for the skip connections
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x, embedded)
            skips.append(x)
        x = self.attention(self.middle(x, embedded))
        # upwards: add the features of the same level (summing costs less than concatenating), then double the sides
        for level, block in reversed(list(enumerate(self.up))):
            x = block(x + skips.pop(), embedded)
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") if level else x
        field: Tensor = F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.packing)
        return field.float()


class ResidualBlock(nn.Module):
    """Residual block x + f(x, time), (n, inputs, x, y) to (n, outputs, x, y). f is zero before training."""

    def __init__(self, inputs: int, outputs: int, embedded: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = group_norm(inputs), group_norm(outputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(embedded, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Apply the block; `embedded` is the time embedding, (n, channels) or (1, channels)."""
        hidden = self.second_norm(self.first(F.silu(self.first_norm(x))))
        scale, shift = self.modulation(embedded)[:, :, None, None].chunk(2, dim=1)
        hidden = self.second(F.silu(hidden * (1.0 + scale) + shift))
        total: Tensor = self.skip(x) + hidden
        return total


class Attention(nn.Module):
    """Add self-attention over all positions of a map (n, channels, x, y) (Vaswani et al. 2017, section 3.2); adds zero before training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD if channels % HEAD == 0 else 1
        self.norm = group_norm(channels)
        self.projections = nn.Conv2d(channels, 3 * channels, 1)  # queries, keys and values
        self.last = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.projections(self.norm(x)).flatten(2).unflatten(1, (3 * self.heads, -1))
        queries, keys, values = projected.transpose(2, 3).chunk(3, dim=1)  # (n, heads, positions, channels of a head) each
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        mapped: Tensor = self.last(mixed.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))
        return x + mapped


class TimeEmbedding(nn.Module):
    """Embed times (n,) as (n, size): sines and cosines of log-spaced frequencies, then two linear layers with SiLU."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        exponents = torch.linspace(math.log(SLOWEST), math.log(FASTEST), FREQUENCIES)
        self.register_buffer("frequencies", exponents.exp(), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

    def forward(self, time: Tensor) -> Tensor:
        angles = time[:, None] * self.frequencies
        embedded: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with the most groups (up to 8) that divide the channels and have at least four channels each.

    Norms over single channels would cancel the bias of the preceding layer.
    """
    groups = [count for count in range(1, GROUPS + 1) if channels % count == 0 and channels // count >= LEAST_GROUP]
    return nn.GroupNorm(max(groups, default=1), channels)


def zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    """Set weights and bias to zero, so that the branch that ends with this convolution adds nothing before training."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
