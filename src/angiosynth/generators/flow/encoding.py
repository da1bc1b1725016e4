"""Encode images and labels as the channels of a flow, and compute mean and standard deviation of each channel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from angiosynth.data.patches import PatchSet
from angiosynth.generators.flow.kinds import FlowSettings

THRESHOLD = 0.0  # of the label channel: half way between -1 and 1, or distance 0
SAMPLED = 512  # pairs from which mean and standard deviation are estimated
LEAST_DEVIATION = 0.05  # avoids division by zero for a set without vessels
APART = 1e6  # spacing between the patches of a batch, in pixels


def encode_pairs(settings: FlowSettings, image: Tensor, label: Tensor) -> Tensor:
    """Stack images in [-1, 1] and labels 0 or 1, (n, x, y) each, as channels (n, 2, x, y).

    The label channel is -1 and 1 for `label` "mask", or the signed distance, clipped and scaled to [-1, 1], for "distance".
    """
    if settings.label == "mask":
        return torch.stack([image, label * 2.0 - 1.0], dim=1)
    distance = signed_distance(label.numpy() > 0.5) / settings.distance_clip
    return torch.stack([image, torch.from_numpy(distance.clip(-1.0, 1.0))], dim=1)


def signed_distance(label: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Signed distance (n, x, y), in pixels, from each pixel centre to the border of the label: positive inside, negative outside.

    The border lies half way between pixels, so absolute values are at least 1/2. A patch without border has huge values.
    """
    # One transform serves all patches: a huge spacing along the first axis keeps them from seeing each other. A full and an empty patch are
    # appended, because the distance transform is undefined if an array has no background or no foreground at all.
    ends = np.stack([np.ones_like(label[0]), np.zeros_like(label[0])])
    stacked = np.concatenate([label, ends])
    spacing = (APART, 1.0, 1.0)
    within, outside = (distance_transform_edt(mask, sampling=spacing)[: len(label)] for mask in (stacked, ~stacked))
    return np.where(label, within - 0.5, 0.5 - outside).astype(np.float32)


def channel_statistics(settings: FlowSettings, patches: PatchSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (2,) each, of the image and label channels over at most 512 pairs spread evenly over the set."""
    rows = np.unique(np.linspace(0, len(patches) - 1, min(len(patches), SAMPLED)).round().astype(np.int64))
    image, label = (torch.from_numpy(array) for array in patches.pairs(rows))
    values = encode_pairs(settings, image, label).double()
    deviation, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
    return mean.float(), deviation.float().clamp(min=LEAST_DEVIATION)
