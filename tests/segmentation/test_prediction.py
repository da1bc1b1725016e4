"""Whole volumes, slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from angiosynth.segmentation import prediction
from angiosynth.segmentation.prediction import Segmenter, Window, windows
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
    result = _segmenter().segment(image, np.ones(shape, bool))
    assert result.dtype == np.bool_
    np.testing.assert_array_equal(result, image > 0)


def test_images_are_standardised() -> None:
    image = _image()
    np.testing.assert_array_equal(_segmenter(0.5, 0.1).segment(image, np.ones(SHAPE, bool)), image > 0.5)


def test_nothing_is_found_outside_the_brain() -> None:
    image, brain = _image(), np.zeros(SHAPE, bool)
    brain[3:15, 8:30, 1:4] = np.random.default_rng(1).random((12, 22, 3)) < 0.5
    result = _segmenter().segment(image, brain)
    np.testing.assert_array_equal(result, (image > 0) & brain)
    assert result.any()


def test_only_windows_around_the_brain_are_computed() -> None:
    brain = np.zeros((200, 200, 6), bool)
    brain[50:60, 90:120, 1] = True  # 10 x 30 and a margin of 16 on either side
    brain[30:70, 90:120, 3] = True
    segmenter = _segmenter()
    segmenter.segment(_image((200, 200, 6)), brain)
    assert isinstance(segmenter.unet, Bright)
    # Along x the grid begins at 30 - 16: the first window reaches from 30 to 78, the second from 14 to 94.
    assert segmenter.unet.shapes == [(1, 1, 48, 64), (1, 1, 80, 64)]
    assert windows(brain) == [Window(1, (30, 74), (48, 64)), Window(3, (14, 74), (80, 64))]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 40)] * 2))
def test_every_window_holds_the_brain_and_its_margin(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    brain = rng.random((*shape, 4)) < rng.choice([0.002, 0.1, 0.9])
    result = windows(brain)
    assert [window.z for window in result] == np.flatnonzero(brain.any(axis=(0, 1))).tolist()
    for axis in (0, 1):
        assert len({window.corner[axis] % 16 for window in result}) <= 1
    for window in result:
        for axis, places in enumerate(np.nonzero(brain[:, :, window.z])):
            start, side = window.corner[axis], window.sides[axis]
            assert side % 16 == 0
            assert 0 <= places.min() - 16 - start < 16
            assert 0 <= start + side - (places.max() + 1 + 16) < 16


def test_what_lies_around_the_brain_changes_no_voxel() -> None:
    """A scan that is cut to the brain, or padded, or bright outside of it, gives the same mask."""
    unet = build_unet(3, 0.0, 4)
    with torch.no_grad():
        unet.last.bias.zero_()  # type: ignore[union-attr]
    segmenter = Segmenter(unet, -0.2, 0.5, "float32")
    image, brain = _image((60, 70, 5)), np.zeros((60, 70, 5), bool)
    brain[20:41, 30:57, 1:4] = np.random.default_rng(2).random((21, 27, 3)) < 0.8
    expected = segmenter.segment(image, brain)
    assert 0.1 < expected[brain].mean() < 0.9
    box = np.s_[20:41, 30:57, 1:4]
    np.testing.assert_array_equal(segmenter.segment(image[box], brain[box]), expected[box])
    padding = ((7, 1), (0, 50), (3, 2))
    padded = segmenter.segment(np.pad(image, padding, constant_values=1.0), np.pad(brain, padding))
    np.testing.assert_array_equal(padded, np.pad(expected, padding))


def test_an_empty_brain_gives_an_empty_mask() -> None:
    result = _segmenter().segment(_image(), np.zeros(SHAPE, bool))
    assert result.shape == SHAPE
    assert not result.any()


def test_batches_of_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, brain = _image(), np.ones(SHAPE, bool)
    whole = _segmenter().segment(image, brain)
    monkeypatch.setattr(prediction, "VOXELS_AT_ONCE_ON_CPU", 2 * 64 * 80)
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
