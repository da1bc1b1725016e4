"""Frechet distance: by hand, and what it must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from angiosynth.metrics.frechet import frechet_distance
from angiosynth.segmentation.features import unet_features
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.unet import build_unet


def _features(count: int, seed: int, width: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def test_one_feature_by_hand() -> None:
    first, second = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0], [13.0]])
    # means 1 and 9, deviations sqrt(2) and 4: (9 - 1)^2 + (4 - sqrt(2))^2
    assert frechet_distance(first, second) == pytest.approx(64 + (4 - np.sqrt(2)) ** 2)


def test_it_is_the_formula_with_the_matrix_root() -> None:
    first, second = _features(40, 1), _features(70, 2)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 50), st.integers(2, 30))
def test_symmetric_zero_to_itself_and_grows_with_a_shift(seed: int, count: int) -> None:
    first, second = _features(count, seed), _features(count + 3, seed + 1)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-6, abs=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-5 * (1 + np.abs(first).max() ** 2))
    shifted = frechet_distance(first, first + 3.0)
    assert shifted == pytest.approx(5 * 9.0, rel=1e-4)


def test_features_are_means_of_the_levels() -> None:
    unet = build_unet(2, 0.0, 1)
    images = np.random.default_rng(1).integers(0, 255, (130, 16, 16)).astype(np.uint8)  # more than a chunk
    result = unet_features(Segmenter(unet, 0.1, 0.5), images)
    assert result.shape == (130, 31 * 2)
    x = (torch.from_numpy(images[129:].astype(np.float32)) / 127.5 - 1 - 0.1) / 0.5
    with torch.no_grad():
        first = unet.down[0](x[None])
    np.testing.assert_allclose(result[129, :2], first.mean(dim=(2, 3))[0].numpy(), rtol=1e-4)
