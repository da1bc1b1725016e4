"""What is served is what `segment` finds."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from angiosynth.segmentation.prediction import MARGIN, THRESHOLD, Segmenter
from angiosynth.segmentation.serving import REFUSAL, Served
from angiosynth.segmentation.unet import build_unet
from angiosynth.tracking.run import traceable

Program = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def served() -> Served:
    return Served(Segmenter(build_unet(2, 0.1, 3).eval(), -0.5, 0.4, "float32"))


@pytest.fixture(scope="module")
def program(served: Served) -> Program:
    """The program as MLflow keeps and loads it, batch and sides free."""
    network, noise, _ = traceable(served, (1, 1, 32, 32))
    free = torch.export.Dim.AUTO
    exported = torch.export.export(network, (torch.from_numpy(noise),), dynamic_shapes=[{0: free, 2: free, 3: free}])
    stored = io.BytesIO()
    torch.export.save(exported, stored)
    stored.seek(0)
    loaded: Program = torch.export.load(stored).module()
    return loaded


def _images(count: int = 2, side: int = 32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (count, 1, side, side)).astype(np.float32))


def _with(value: float) -> Tensor:
    """One voxel of the last image is another."""
    images = _images()
    images[-1, 0, 3, 5] = value
    return images


@pytest.mark.parametrize(
    "images",
    [
        pytest.param((_images() + 1) * 127.5, id="0..255"),
        pytest.param((_images() + 1) * 2047.5, id="0..4095"),
        pytest.param(torch.full((2, 1, 32, 32), 300.0), id="constant"),
        pytest.param(torch.full((2, 1, 32, 32), torch.nan), id="NaN"),
        *(pytest.param(_with(value), id=f"a voxel of {value}") for value in (torch.nan, torch.inf, -torch.inf, 1.01, -1.01, 1e30)),
        pytest.param(_images(0), id="no image"),
        pytest.param(_images(2, 0), id="no voxel"),
    ],
)
def test_what_is_not_standardised_is_refused(images: Tensor, served: Served, program: Program) -> None:
    """As the module and as the stored program. Neighbours that pass are in the next test."""
    for answering in (served, program):
        with torch.no_grad(), pytest.raises((RuntimeError, AssertionError)) as caught:
            answering(images)
        assert str(caught.value) == REFUSAL or images.shape[-1] == 0


@pytest.mark.parametrize("value", [-1.0, 1.0, 1.0005, -1.0005, 0.0, 1e-30])
def test_what_is_standardised_gets_the_unets_own_answer(value: float, served: Served, program: Program) -> None:
    """Also with the ends of the range, a rounding beyond them, and images of air alone."""
    for images in (_with(value), torch.full((1, 1, 48, 32), value)):
        with torch.no_grad():
            expected = torch.sigmoid(served.unet((images - torch.tensor(-0.5)) / torch.tensor(0.4)))
            assert torch.equal(served(images), expected)
            assert torch.equal(program(images), expected)


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
    result = np.moveaxis(answer[:, 0] > THRESHOLD, 0, 2) & brain
    assert 0 < expected.sum() < brain.sum()
    np.testing.assert_array_equal(result, expected)
