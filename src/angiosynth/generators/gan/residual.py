"""Generator and critic of R3GAN (Huang et al. 2024, section 3 and appendix), for the patch sizes of `networks.pyramid`.

Both are pyramids of residual blocks without normalisation. The published networks need large GPUs. Here the number of blocks, their
expansion and the size of the groups are settings. `width` is the number of channels at full resolution; it doubles with each halving of the
sides, up to 8 times the width.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.generators.gan.grouped import GroupedConvolution
from angiosynth.generators.gan.networks import CHANNELS, SLOPE, LeakyReLU, NoiseMaps, pyramid

GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))  # keeps the variance through a leaky rectifier (He et al. 2015, eq. 15)
WIDEST = 8  # channels of the coarsest levels, as a multiple of the width


@dataclass(frozen=True)
class Shape:
    """Shape of a pyramid of residual blocks.

    Attributes:
        width: channels at full resolution.
        blocks: residual blocks of a level.
        expansion: ratio of the channels within a block to those between blocks.
        group_channels: channels in a group of the 3x3 convolutions.
    """

    width: int
    blocks: int
    expansion: int
    group_channels: int

    def channels(self, patch_size: int) -> list[int]:
        """Return the channels of each level, coarsest level first."""
        return [self.width * min(2**level, WIDEST) for level in reversed(range(pyramid(patch_size)[1] + 1))]

    def level(self, channels: int, branches: int) -> list[nn.Module]:
        """Build the blocks of a level."""
        return [ResidualBlock(channels, self.expansion, self.group_channels, branches) for _ in range(self.blocks)]


class ResidualBlock(nn.Module):
    """Residual block x + project(act(mix(act(expand(x))))) of 1x1, grouped 3x3 and 1x1 convolutions; keeps the shape (n, channels, h, w).

    Without normalisation the variance would double with each of L blocks. As in Fixup (Zhang et al. 2019, section 3) the first two weights
    are scaled by L^(-1 / (2 m - 2)) with m = 3 layers, and the last weight starts at zero, so that every block starts as the identity.

    Args:
        channels: channels of input and output.
        expansion: ratio of the inner channels to `channels`.
        group_channels: channels in a group of the 3x3 convolution; a single group if they do not divide the inner channels.
        branches: L, the number of residual blocks of the whole network.
    """

    def __init__(self, channels: int, expansion: int, group_channels: int, branches: int) -> None:
        super().__init__()
        inner = channels * expansion
        groups = inner // group_channels if inner % group_channels == 0 else 1
        gain = GAIN * branches ** (-0.25)
        self.expand = GroupedConvolution(channels, inner, 1, gain)
        self.mix = GroupedConvolution(inner, inner, 3, gain, groups)
        self.project = GroupedConvolution(inner, channels, 1, 0.0, bias=False)
        self.act = LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.project(self.act(self.mix(self.act(self.expand(x)))))
        return x + change


class Enlarge(nn.Module):
    """1x1 convolution, then doubling of the sides by bilinear interpolation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = GroupedConvolution(inputs, outputs, 1, 1.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.convolution(x), scale_factor=2, mode="bilinear", align_corners=False)


class Reduce(nn.Module):
    """Halving of the sides by bilinear interpolation, which equals the mean of 2x2 pixels, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = GroupedConvolution(inputs, outputs, 1, 1.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        reduced: Tensor = self.convolution(F.avg_pool2d(x, 2))
        return reduced


class ResidualGenerator(nn.Module):
    """Map latent vectors (n, latent_size) to pairs (n, 2, size, size) in [-1, 1]; channel 0 is the image, 1 the label.

    The input of the pyramid are learnt maps (base, base), each scaled by a linear function of the latent vector.

    Attributes:
        latent_size: length of the input: `sizes[0]` values, then the pixels of all noise maps, all standard normal.
    """

    def __init__(self, vector_size: int, patch_size: int, shape: Shape, noise: bool) -> None:
        super().__init__()
        base, levels = pyramid(patch_size)
        channels = shape.channels(patch_size)
        branches = shape.blocks * (levels + 1)
        self.basis = nn.Parameter(torch.randn(channels[0], base, base))
        self.modulate = nn.Linear(vector_size, channels[0], bias=False)
        nn.init.normal_(self.modulate.weight, 0.0, vector_size**-0.5)
        blocks = shape.level(channels[0], branches)
        for level, (inputs, outputs) in enumerate(itertools.pairwise(channels), start=1):
            blocks.append(Enlarge(inputs, outputs))
            if noise:
                blocks.append(NoiseMaps(outputs, base * 2**level))
            blocks += shape.level(outputs, branches)
        self.blocks = nn.Sequential(*blocks, GroupedConvolution(channels[-1], CHANNELS, 1, 1.0))
        self.sizes = [vector_size, *(block.size for block in blocks if isinstance(block, NoiseMaps))]
        self.latent_size = sum(self.sizes)

    def forward(self, latent: Tensor) -> Tensor:
        # The latent vector scales the learnt maps at the coarsest level; each later level receives its noise map.
        vector, *noise = latent.split(self.sizes, dim=1)
        maps = iter(noise)
        x = (self.basis * self.modulate(vector)[:, :, None, None]).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, next(maps)) if isinstance(block, NoiseMaps) else block(x)
        return torch.tanh(x.float())


class ResidualCritic(nn.Module):
    """Map pairs (n, 2, size, size) to scores (n,)."""

    def __init__(self, patch_size: int, shape: Shape) -> None:
        super().__init__()
        base, levels = pyramid(patch_size)
        channels = shape.channels(patch_size)[::-1]
        branches = shape.blocks * (levels + 1)
        blocks: list[nn.Module] = [GroupedConvolution(CHANNELS, channels[0], 3, 1.0)]
        for inputs, outputs in itertools.pairwise(channels):
            blocks += [*shape.level(inputs, branches), Reduce(inputs, outputs)]
        self.body = nn.Sequential(*blocks, *shape.level(channels[-1], branches))
        # Two linear maps without bias: a weight for each value of the last maps, then a weight for each channel.
        self.basis = nn.Parameter(torch.randn(channels[-1], base, base) / base)
        self.head = nn.Parameter(torch.randn(channels[-1]) * channels[-1] ** -0.5)

    def forward(self, pairs: Tensor) -> Tensor:
        # In float32, because the loss takes differences of scores. Under autocast a matrix product would run in bfloat16.
        features = (self.body(pairs).float() * self.basis).sum(dim=(2, 3))
        scores: Tensor = (features * self.head).sum(dim=1)
        return scores
