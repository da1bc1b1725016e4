"""What is served is what `segment` finds."""

from __future__ import annotations

import numpy as np
import torch

from angiosynth.segmentation.prediction import MARGIN, THRESHOLD, Segmenter
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.unet import build_unet


def test_what_is_served_is_what_segment_finds() -> None:
    """A slice as wide as the window that `segment` looks through: the brain with its margin."""
    unet = build_unet(2, 0.0, 3)
    unet.last.bias.data.fill_(0.0)  # type: ignore[union-attr]
    segmenter = Segmenter(unet.eval(), -0.5, 0.4, "float32")
    image = np.full((64, 80, 2), -1.0, np.float32)
    brain = np.zeros(image.shape, bool)
    brain[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    image[brain] = np.random.default_rng(1).uniform(-1, 1, int(brain.sum()))
    expected = segmenter.segment(image, brain)
    with torch.no_grad():
        answer = Served(segmenter)(torch.from_numpy(np.moveaxis(image, 2, 0)[:, None].copy())).numpy()
    found = np.moveaxis(answer[:, 0] > THRESHOLD, 0, 2) & brain
    assert 0 < expected.sum() < brain.sum()
    np.testing.assert_array_equal(found, expected)
