"""Patches labelled by U-nets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from angiosynth.errors import InputError
from angiosynth.segmentation import prediction
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.unet import build_unet


class Steep(nn.Module):
    """Stands for a U-net: the logit is the standardised intensity times a slope."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x * self.slope


def _segmenter(slope: float, mean: float = 0.0, deviation: float = 1.0) -> Segmenter:
    return Segmenter(Steep(slope), mean, deviation, "float32", "a/unet.pt")  # type: ignore[arg-type]


def _patches(count: int = 7, size: int = 16) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)


def test_a_pixel_is_vessel_if_the_probability_exceeds_one_half() -> None:
    image = _patches()
    label = PatchLabeller((_segmenter(3.0, mean=0.21, deviation=0.5),)).labels(image)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, image / 127.5 - 1 > 0.21)  # no level lies there


def test_probabilities_of_several_unets_are_averaged() -> None:
    """One is sure of vessel above 0, the other is against it above -1, but hardly: the mean follows the surer one."""
    image = _patches()
    both = PatchLabeller((_segmenter(50.0), _segmenter(-0.1, mean=-1.0))).labels(image)
    x = image / 127.5 - 1
    np.testing.assert_array_equal(both, (1 / (1 + np.exp(-50 * x)) + 1 / (1 + np.exp(0.1 * (x + 1)))) / 2 > 0.5)
    assert not PatchLabeller((_segmenter(-0.1, mean=-1.0),)).labels(image).any()
    assert 0 < both.sum() < both.size


def test_batches_are_bounded_and_do_not_change_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    image, unet = _patches(9), build_unet(2, 0.0, 1).eval()
    assert unet.last.bias is not None
    torch.nn.init.zeros_(unet.last.bias)
    segmenter = Segmenter(unet, 0.0, 0.5, "float32")
    whole = PatchLabeller((segmenter,)).labels(image)
    assert 0 < whole.sum() < whole.size
    monkeypatch.setattr(prediction, "VOXELS_AT_ONCE_ON_CPU", 2 * 16 * 16)
    np.testing.assert_array_equal(PatchLabeller((segmenter,)).labels(image), whole)
    counted = _segmenter(1.0)
    PatchLabeller((counted,)).labels(image)
    assert isinstance(counted.unet, Steep)
    assert [shape[0] for shape in counted.unet.shapes] == [2, 2, 2, 2, 1]
    monkeypatch.setattr(prediction, "VOXELS_AT_ONCE_ON_CPU", 1)  # less than a patch: one at a time
    np.testing.assert_array_equal(PatchLabeller((segmenter,)).labels(image), whole)


def test_a_diverged_unet_is_named() -> None:
    with pytest.raises(InputError, match=r"^a/unet\.pt: its output is not finite"):
        PatchLabeller((_segmenter(float("nan")),)).labels(_patches())
