"""The U-net of Livne et al. 2019: "full" at width 64 (31,377,793 weights), "half" at width 32 (7,846,081 weights)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 5
VESSEL_LOG_ODDS = -4.0  # initial vessel probability of 2%; starting at 50% Dice loss often converges to the empty prediction
SIDE_MULTIPLE = 2 ** (LEVELS - 1)  # sides of the input must be multiples of this


class Level(nn.Module):
    """Two 3x3 convolutions with ReLU and dropout between them, (n, inputs, x, y) to (n, outputs, x, y)."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.dropout(F.relu(self.first(x)))))


class Unet(nn.Module):
    """Map standardised images (n, 1, x, y) to vessel logits (n, 1, x, y).

    Five levels; channels start at `width` and double at each level. 2x2 max pooling in the encoder, nearest-neighbour enlargement and
    concatenation in the decoder, a 1x1 convolution to the logit. No batch norm.
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
        # The inputs of the last convolution come from a ReLU, so they are non-negative. If all its weights were negative the output could
        # never be positive. The signs therefore alternate.
        signs = 1.0 - 2.0 * (torch.arange(width) % 2)
        self.last.weight.data = self.last.weight.data.abs() * signs[None, :, None, None]

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the activations of the encoder's five levels, finest first: (n, width, x, y), (n, 2 width, x/2, y/2), ..."""
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
    """Build a U-net with initial weights that depend only on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Unet(width, dropout)
