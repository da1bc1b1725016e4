"""Features of images: what the levels of a trained U-net make of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, from_levels
from angiosynth.segmentation.prediction import Segmenter

Features = NDArray[np.float64]  # (n, features)
CHUNK = 128


@torch.no_grad()
def unet_features(segmenter: Segmenter, images: ImagePatches) -> Features:
    """What each level of a U-net's way down makes of an image, averaged over its pixels.

    Args:
        segmenter: trained on real patches.
        images: (n, x, y) levels 0..255.

    Returns:
        (n, 31 * width): width of the first level, twice that of the second, and so on.
    """
    segmenter.unet.eval()
    where = next(segmenter.unet.parameters()).device
    found = []
    for start in range(0, len(images), CHUNK):
        batch = torch.from_numpy(from_levels(images[start : start + CHUNK]))[:, None]
        levels = segmenter.unet.encode(((batch - segmenter.mean) / segmenter.deviation).to(where))
        found.append(torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1).double().cpu().numpy())
    return np.concatenate(found)
