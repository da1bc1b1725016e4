"""The U-net of Livne et al. 2019: the full one at width 64 (31,377,793 weights), the half one at width 32 (7,846,081)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 5
VESSEL_LOG_ODDS = -4.0  # initial probability of 2%: from 50% the Dice loss often falls into the empty prediction and stays there
SIDE_MULTIPLE = 2 ** (LEVELS - 1)  # sides of the input must be multiples of this


class Level(nn.Module):
    """Two 3x3 convolutions with ReLU, dropout between them."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.dropout(F.relu(self.first(x)))))


class Unet(nn.Module):
    """Standardised images (n, 1, x, y) to logits of the vessel label (n, 1, x, y).

    Channels double from `width` over five levels; 2x2 max pooling down, nearest enlargement and concatenation up, one
    1x1 convolution to the logit. No batch norm.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(Level(a, b, dropout) for a, b in zip([1, *channels[:-1]], channels, strict=True))
        self.up = nn.ModuleList(Level(channels[i] + channels[i - 1], channels[i - 1], dropout) for i in range(LEVELS - 1, 0, -1))
        self.last = nn.Conv2d(width, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, VESSEL_LOG_ODDS)
        # Its inputs come from a ReLU: if all weights were negative the output could never be positive. So signs alternate.
        signs = 1.0 - 2.0 * (torch.arange(width) % 2)
        self.last.weight.data = self.last.weight.data.abs() * signs[None, :, None, None]

    def encode(self, x: Tensor) -> list[Tensor]:
        """Activations of the encoder's five levels, the finest first: (n, width, x, y), (n, 2 width, x/2, y/2), ..."""
        skips: list[Tensor] = []
        for depth, level in enumerate(self.down):
            x = level(x if depth == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        return skips

    def forward(self, x: Tensor) -> Tensor:
        skips = self.encode(x)
        x = skips[-1]
        for level, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        logits: Tensor = self.last(x)
        return logits


def build_unet(width: int, dropout: float, seed: int) -> Unet:
    """A U-net whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Unet(width, dropout)
