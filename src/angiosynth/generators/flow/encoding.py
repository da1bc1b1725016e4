"""Images and labels as the channels of a flow, and their mean and deviation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from angiosynth.data.patches import PatchSet
from angiosynth.generators.flow.kinds import FlowSettings

THRESHOLD = 0.0  # of the label's channel: half way between -1 and 1, or distance 0
SAMPLED = 512  # pairs that give mean and deviation of a channel closely enough
LEAST_DEVIATION = 0.05  # a set without vessels must not divide by zero
APART = 1e6  # pixels between two patches of a batch


def encode_pairs(settings: FlowSettings, image: Tensor, label: Tensor) -> Tensor:
    """Images in [-1, 1] and labels 0 and 1 (n, x, y) as channels (n, 2, x, y); the label as -1 and 1, or as its signed distance."""
    if settings.label == "mask":
        return torch.stack([image, label * 2.0 - 1.0], dim=1)
    distance = signed_distance(label.numpy() > 0.5) / settings.distance_clip
    return torch.stack([image, torch.from_numpy(distance.clip(-1.0, 1.0))], dim=1)


def signed_distance(label: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in pixels (n, x, y) of each pixel's centre to the label's border: positive within, negative outside.

    The border lies half way between pixels, so values are at least 1/2 away from 0. Where a patch has no border the value is huge.
    """
    # One call for all patches: they lie far apart along the first axis, and two more, one full and one empty, are always there as a target.
    ends = np.stack([np.ones_like(label[0]), np.zeros_like(label[0])])
    stacked = np.concatenate([label, ends])
    spacing = (APART, 1.0, 1.0)
    within, outside = (distance_transform_edt(mask, sampling=spacing)[: len(label)] for mask in (stacked, ~stacked))
    return np.where(label, within - 0.5, 0.5 - outside).astype(np.float32)


def channel_statistics(settings: FlowSettings, patches: PatchSet) -> tuple[Tensor, Tensor]:
    """Mean and deviation (2,) of image and label over at most 512 pairs spread evenly over the set."""
    rows = np.unique(np.linspace(0, len(patches) - 1, min(len(patches), SAMPLED)).round().astype(np.int64))
    image, label = (torch.from_numpy(array) for array in patches.pairs(rows))
    values = encode_pairs(settings, image, label).double()
    deviation, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
    return mean.float(), deviation.float().clamp(min=LEAST_DEVIATION)
