"""How far apart two sets of images are in the features of a U-net trained on real patches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, from_levels
from angiosynth.segmentation.prediction import Segmenter

Features = NDArray[np.float64]  # (n, features)
CHUNK = 128


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (Dowson and Landau 1982, eq. 4; Heusel et al. 2017).

    Args:
        first, second: (n, features), at least two rows each; n may differ.

    Returns:
        At least 0, in the features' unit squared; 0 where means and covariances agree.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    # The product of two covariances has real eigenvalues, none negative; rounding leaves traces of others.
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0.0, None))
    traces = float(np.trace(covariances[0]) + np.trace(covariances[1]))
    return max(0.0, float(shift @ shift) + traces - 2.0 * float(roots.sum()))


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
