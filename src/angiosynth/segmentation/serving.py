"""A trained U-net as a program for others: images in, probabilities out, nothing else to know."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from angiosynth.segmentation.prediction import Segmenter

LIMIT = 1.001  # a thousandth beyond [-1, 1] is rounding
REFUSAL = "images must be finite, at least one, with values in [-1, 1]: standardise them by the intensity rule first (docs/serving.md)"


class Served(nn.Module):
    """Images (n, 1, x, y) in [-1, 1], -1 outside the brain, to the probability of vessel (n, 1, x, y), in float32.

    The segmenter's standardisation and U-net, its sides multiples of 16 as `SIDE_MULTIPLE` asks. A voxel is vessel where the probability
    passes `THRESHOLD` inside the brain.

    Grey levels as a scanner gives them would be answered with nonsense, so values beyond `LIMIT`, NaN and a batch without a voxel raise a
    RuntimeError that says REFUSAL. The check is part of the exported program.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.unet = segmenter.unet
        self.register_buffer("mean", torch.tensor(segmenter.mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(segmenter.deviation, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        within = image.abs() <= LIMIT  # False for NaN
        # On the CPU, so that the assertion raises: on a GPU it would make the device unusable for the process.
        torch._assert_async((within.all() & within.any()).cpu(), REFUSAL)
        logits: Tensor = self.unet((image - cast(Tensor, self.mean)) / cast(Tensor, self.deviation))
        return torch.sigmoid(logits)
