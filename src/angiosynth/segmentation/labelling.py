"""Labels of drawn images by U-nets that were trained on real patches.

A generator learns the joint distribution of image and label from few patches, and its label fits its image less well than a U-net's does:
the U-net learns nothing but this relation. Labelling the images anew keeps the generator's images and gives the set the decision rule of
the U-net on real patches, as a student network learns from a teacher (Hinton, Vinyals and Dean 2015, arXiv 1503.02531). docs/results.md
has the gains by kind of generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from angiosynth.arrays import ImagePatches, LabelPatches, from_levels
from angiosynth.compute.precision import autocast
from angiosynth.segmentation.prediction import THRESHOLD, Segmenter, voxels_at_once


@dataclass(frozen=True)
class PatchLabeller:
    """Labels patches by the mean probability of one or more U-nets.

    Attributes:
        segmenters: U-nets trained on real patches, at least one; several are the same training with other seeds.
    """

    segmenters: tuple[Segmenter, ...]

    def labels(self, image: ImagePatches) -> LabelPatches:
        """Return the labels (n, x, y), 0 or 1, of images (n, x, y): 1 where the mean probability exceeds 0.5.

        Raises:
            InputError: an output of a U-net is not finite.
        """
        label = np.empty(image.shape, np.uint8)
        for rows in self._batches(image):
            label[rows] = np.mean([_probabilities(segmenter, image[rows]) for segmenter in self.segmenters], axis=0) > THRESHOLD
        return label

    def digest(self) -> str:
        """Return the digest of weights and standardisation, sixteen hex digits."""
        combined = hashlib.sha256()
        for segmenter in self.segmenters:
            combined.update(repr((segmenter.mean, segmenter.deviation)).encode())
            for value in segmenter.unet.state_dict().values():
                combined.update(value.cpu().contiguous().numpy().tobytes())
        return combined.hexdigest()[:16]

    def _batches(self, image: ImagePatches) -> Iterator[slice]:
        device = next(self.segmenters[0].unet.parameters()).device
        count = max(1, voxels_at_once(device) // (image.shape[1] * image.shape[2]))
        return (slice(start, start + count) for start in range(0, len(image), count))


@torch.no_grad()
def _probabilities(segmenter: Segmenter, image: ImagePatches) -> np.ndarray:
    """Return the probability of vessel (n, x, y) of images (n, x, y)."""
    device = next(segmenter.unet.parameters()).device
    segmenter.unet.eval()
    standardised = (torch.from_numpy(from_levels(image))[:, None] - segmenter.mean) / segmenter.deviation
    with autocast(segmenter.precision, device):
        logits = segmenter.unet(standardised.to(device, memory_format=torch.channels_last))[:, 0]
    segmenter.refuse_infinite(logits)
    probability: np.ndarray = logits.float().sigmoid().cpu().numpy()
    return probability
