"""Labels of drawn images by U-nets that were trained on real patches.

A generator learns the joint distribution of image and label from few patches, and its label fits its image less well than a U-net's does:
the U-net learns nothing but this relation. Labelling the images anew keeps the generator's images and gives the set the decision rule of
the U-net on real patches, as a student network learns from a teacher (Hinton, Vinyals and Dean 2015, arXiv 1503.02531). docs/results.md
has the gains by kind of generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from angiosynth.arrays import ImagePatches, LabelPatches, from_levels
from angiosynth.segmentation.prediction import THRESHOLD, Segmenter


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
        count = max(1, self.segmenters[0].voxels_at_once() // (image.shape[1] * image.shape[2]))
        for start in range(0, len(image), count):
            rows = slice(start, start + count)
            each = [segmenter.probabilities(from_levels(image[rows])) for segmenter in self.segmenters]
            label[rows] = np.mean(each, axis=0) > THRESHOLD
        return label
