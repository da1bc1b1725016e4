"""Whole volumes, slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from angiosynth.segmentation import prediction
from angiosynth.segmentation.prediction import Segmenter, bounding_box
from angiosynth.segmentation.unet import build_unet

SHAPE = (21, 37, 5)


class Bright(nn.Module):
    """Stands for a U-net: the logit is the standardised intensity. Asks for sides in multiples of 16 like one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1
        assert x.shape[2] % 16 == x.shape[3] % 16 == 0
        self.shapes.append(tuple(x.shape))
        return x * self.weight


def _segmenter(mean: float = 0.0, deviation: float = 1.0) -> Segmenter:
    return Segmenter(Bright(), mean, deviation, "float32")  # type: ignore[arg-type]


def _image(shape: tuple[int, int, int] = SHAPE) -> Any:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [SHAPE, (16, 32, 3), (1, 1, 1), (50, 17, 2)])
def test_every_voxel_keeps_its_place_whatever_the_sides(shape: tuple[int, int, int]) -> None:
    image = _image(shape)
    found = _segmenter().segment(image, np.ones(shape, bool))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, image > 0)


def test_images_are_standardised() -> None:
    image = _image()
    np.testing.assert_array_equal(_segmenter(0.5, 0.1).segment(image, np.ones(SHAPE, bool)), image > 0.5)


def test_nothing_is_found_outside_the_brain() -> None:
    image, brain = _image(), np.zeros(SHAPE, bool)
    brain[3:15, 8:30, 1:4] = np.random.default_rng(1).random((12, 22, 3)) < 0.5
    found = _segmenter().segment(image, brain)
    np.testing.assert_array_equal(found, (image > 0) & brain)
    assert found.any()


def test_only_the_brains_box_is_computed() -> None:
    brain = np.zeros(SHAPE, bool)
    brain[2:10, 4:24, 1:3] = True
    segmenter = _segmenter()
    segmenter.segment(_image(), brain)
    assert isinstance(segmenter.unet, Bright)
    assert segmenter.unet.shapes == [(2, 1, 16, 32)]


def test_an_empty_brain_gives_an_empty_mask() -> None:
    found = _segmenter().segment(_image(), np.zeros(SHAPE, bool))
    assert found.shape == SHAPE
    assert not found.any()


def test_batches_of_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, brain = _image(), np.ones(SHAPE, bool)
    whole = _segmenter().segment(image, brain)
    monkeypatch.setattr(prediction, "VOXELS_AT_ONCE", 2 * 32 * 48)
    segmenter = _segmenter()
    np.testing.assert_array_equal(segmenter.segment(image, brain), whole)
    assert isinstance(segmenter.unet, Bright)
    assert [shape[0] for shape in segmenter.unet.shapes] == [2, 2, 1]


def test_fortran_order_is_no_matter() -> None:
    image, brain = _image(), np.ones(SHAPE, bool)
    np.testing.assert_array_equal(_segmenter().segment(np.asfortranarray(image), np.asfortranarray(brain)), image > 0)


def test_dropout_is_off() -> None:
    unet = build_unet(2, 0.5, 1).train()
    with torch.no_grad():
        unet.last.bias.zero_()  # type: ignore[union-attr]
    segmenter = Segmenter(unet, 0.0, 1.0, "float32")
    image, brain = _image((20, 20, 3)), np.ones((20, 20, 3), bool)
    np.testing.assert_array_equal(segmenter.segment(image, brain), segmenter.segment(image, brain))
    assert not unet.training


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((9, 8, 7), bool)
    mask[2, 3, 4] = mask[6, 1, 4] = True
    assert bounding_box(mask) == (slice(2, 7), slice(1, 4), slice(4, 5))
