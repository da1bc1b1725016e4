"""A trained U-net as an exportable module that maps images to probabilities and contains standardisation and input check."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from angiosynth.segmentation.prediction import Segmenter

LIMIT = 1.001  # greatest absolute value of an input; values up to 0.001 outside [-1, 1] are rounding errors
REFUSAL = "images must be finite, at least one, with values in [-1, 1]: standardise them by the intensity rule first (docs/serving.md)"


class Served(nn.Module):
    """Module from images (n, 1, x, y) in [-1, 1], -1 outside the brain, to vessel probabilities (n, 1, x, y), float32.

    The sides x and y are multiples of `SIDE_MULTIPLE`. A voxel inside the brain is vessel if its probability exceeds `THRESHOLD`.

    A scanner's unscaled grey levels would give meaningless probabilities. The check of the input is therefore part of the exported program.

    Raises:
        RuntimeError: with the text REFUSAL, for absolute values above `LIMIT`, NaN, or a batch without voxels.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.unet = segmenter.unet
        self.register_buffer("mean", torch.tensor(segmenter.mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(segmenter.deviation, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        in_range = image.abs() <= LIMIT  # False for NaN
        # On the CPU a failed assertion raises an exception; on a GPU it would make the device unusable for the process.
        torch._assert_async((in_range.all() & in_range.any()).cpu(), REFUSAL)
        logits: Tensor = self.unet((image - cast(Tensor, self.mean)) / cast(Tensor, self.deviation))
        return torch.sigmoid(logits)
