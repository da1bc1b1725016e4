"""A trained U-net as an exportable module from images to probabilities, with standardisation and input check inside."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from angiosynth.segmentation.prediction import Segmenter

LIMIT = 1.001  # a thousandth beyond [-1, 1] is rounding
REFUSAL = "images must be finite, at least one, with values in [-1, 1]: standardise them by the intensity rule first (docs/serving.md)"


class Served(nn.Module):
    """Images (n, 1, x, y) in [-1, 1], -1 outside the brain, to the probability of vessel (n, 1, x, y), in float32.

    The sides x and y are multiples of `SIDE_MULTIPLE`. A voxel is vessel where the probability exceeds `THRESHOLD` inside the brain.

    A scanner's unscaled grey levels would give meaningless probabilities, so values beyond `LIMIT`, NaN and a batch without a voxel raise a
    RuntimeError with the text REFUSAL. The check is part of the exported program.
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
