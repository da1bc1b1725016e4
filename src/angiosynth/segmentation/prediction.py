"""Vessels of whole volumes, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from angiosynth.arrays import Image, Mask
from angiosynth.runtime.precision import autocast
from angiosynth.segmentation.unet import SIDE_MULTIPLE, Unet

THRESHOLD = 0.5
VOXELS_AT_ONCE = 600_000  # of a batch of slices: keeps the activations under about a gigabyte


@dataclass(frozen=True)
class Segmenter:
    """A trained U-net with what its input is standardised by."""

    unet: Unet
    mean: float
    deviation: float
    precision: str = "auto"

    @torch.no_grad()
    def segment(self, image: Image, brain: Mask) -> Mask:
        """Vessels inside the brain.

        Args:
            image: (x, y, z) in [-1, 1] by the intensity rule that the U-net was trained with.
            brain: (x, y, z); nothing is found outside.

        Returns:
            (x, y, z) bool.
        """
        found = np.zeros(image.shape, np.bool_)
        if not brain.any():
            return found
        box = bounding_box(brain)
        slices = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image[box], 2, 0)))[:, None]
        width, height = slices.shape[2:]
        padded = F.pad(slices, (0, -height % SIDE_MULTIPLE, 0, -width % SIDE_MULTIPLE), value=-1.0)
        where = next(self.unet.parameters()).device
        self.unet.eval()
        logits = []
        for batch in padded.split(max(1, VOXELS_AT_ONCE // (padded.shape[2] * padded.shape[3]))):
            standardised = ((batch - self.mean) / self.deviation).to(where, memory_format=torch.channels_last)
            with autocast(self.precision, where):
                logits.append(self.unet(standardised)[:, 0, :width, :height].float().cpu())
        vessel = torch.cat(logits).sigmoid().numpy() > THRESHOLD
        found[box] = np.moveaxis(vessel, 0, 2) & brain[box]
        return found


def bounding_box(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box that holds a mask with at least one voxel."""
    axes = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    first, second, third = (slice(int(hits[0]), int(hits[-1]) + 1) for hits in axes)
    return first, second, third
