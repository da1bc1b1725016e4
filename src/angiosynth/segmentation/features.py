"""Image features from the encoder of a trained U-net."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, from_levels
from angiosynth.segmentation.prediction import Segmenter

Features = NDArray[np.float64]  # (n, features)
CHUNK = 32  # images encoded at once: few, so that their activations stay near the processor


@torch.no_grad()
def unet_features(segmenter: Segmenter, images: ImagePatches) -> Features:
    """Return the mean activation of each channel of a U-net's encoder over the pixels of an image.

    Args:
        segmenter: a U-net trained on real patches.
        images: (n, x, y) levels 0..255.

    Returns:
        (n, 31 * width): the channels of the five levels, `width` at the first and twice as many at each following one.
    """
    segmenter.unet.eval()
    device = next(segmenter.unet.parameters()).device
    features = []
    for start in range(0, len(images), CHUNK):
        batch = torch.from_numpy(from_levels(images[start : start + CHUNK]))[:, None]
        levels = segmenter.unet.encode(((batch - segmenter.mean) / segmenter.deviation).to(device))
        features.append(torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1).double().cpu().numpy())
    return np.concatenate(features)
