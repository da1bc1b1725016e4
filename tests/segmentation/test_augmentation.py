"""Random maps of a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from angiosynth.segmentation import augmentation
from angiosynth.segmentation.augmentation import augment, random_maps

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pairs(count: int = 8, side: int = 16) -> tuple[Tensor, Tensor]:
    image = torch.rand(count, 1, side, side, generator=_random(1)) * 2 - 1
    return image, (image > 0.5).float()


def _with_map(monkeypatch: pytest.MonkeyPatch, *rows: list[float]) -> None:
    monkeypatch.setattr(augmentation, "random_maps", lambda count, _random: torch.tensor(rows).expand(count, 2, 3))


def test_the_identity_leaves_all_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_map(monkeypatch, *IDENTITY.tolist())
    image, label = _pairs()
    turned, turned_label = augment(image, label, _random())
    torch.testing.assert_close(turned, image, atol=1e-5, rtol=0)
    assert torch.equal(turned_label, label)


def test_a_mirror_swaps_left_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_map(monkeypatch, [1.0, 0.0, 0.0], [0.0, -1.0, 0.0])
    image, label = _pairs()
    turned, turned_label = augment(image, label, _random())
    torch.testing.assert_close(turned, image.flip(2), atol=1e-5, rtol=0)  # x, left to right, is the first axis of a patch
    assert torch.equal(turned_label, label.flip(2))


def test_what_comes_in_from_outside_is_background(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_map(monkeypatch, [1.0, 0.0, 5.0], [0.0, 1.0, 0.0])  # far beyond the border
    image, label = _pairs()
    turned, turned_label = augment(image, label, _random())
    assert (turned == -1.0).all()
    assert (turned_label == 0.0).all()


def test_labels_stay_labels_and_images_in_range() -> None:
    image, label = _pairs(64)
    turned, turned_label = augment(image, label, _random())
    assert set(turned_label.unique().tolist()) == {0.0, 1.0}
    assert turned.min() >= -1 - 1e-5
    assert turned.max() <= 1 + 1e-5
    assert turned.shape == image.shape
    assert turned_label.shape == label.shape


def test_image_and_label_move_together() -> None:
    label = torch.zeros(64, 1, 32, 32)
    label[:, :, 12:20, 9:14] = 1.0
    turned, turned_label = augment(label * 2 - 1, label, _random())
    agree = ((turned > 0) == (turned_label > 0.5)).float().mean()
    assert agree > 0.985  # but for the difference of linear and nearest along edges
    assert (turned_label != label).any(dim=(1, 2, 3)).sum() > 50


def test_the_generator_alone_decides() -> None:
    image, label = _pairs()
    one = augment(image, label, _random(4))
    torch.rand(9)
    two = augment(image, label, _random(4))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], augment(image, label, _random(5))[0])


def test_maps_stay_within_their_bounds_and_reach_them() -> None:
    maps = random_maps(4000, _random())
    assert maps.shape == (4000, 2, 3)
    assert (maps[:, :, 2] == 0).all()  # no shift
    linear = maps[:, :, :2]
    determinant = linear.det()
    torch.testing.assert_close(determinant.abs(), torch.ones(4000), atol=1e-5, rtol=0)  # neither rotation nor shear changes areas
    mirrored = determinant < 0
    assert 1850 < mirrored.sum() < 2150
    unmirrored = linear.clone()
    unmirrored[:, 1] *= torch.where(mirrored, -1.0, 1.0)[:, None]
    angle = torch.atan2(unmirrored[:, 1, 0], unmirrored[:, 0, 0])  # the first column is not sheared
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    sheared = turn.transpose(1, 2) @ unmirrored  # [[1, tan], [0, 1]]
    torch.testing.assert_close(sheared[:, 1], torch.tensor([0.0, 1.0]).expand(4000, 2), atol=1e-5, rtol=0)
    shear = sheared[:, 0, 1].atan()
    for values, bound in ((angle, 30.0), (shear, 20.0)):
        degrees = values * 180 / math.pi
        assert -bound - 1e-3 <= degrees.min() < -bound * 0.98
        assert bound * 0.98 < degrees.max() <= bound + 1e-3


def test_the_image_is_taken_linearly_and_the_label_from_the_nearest_voxel() -> None:
    """Against SciPy: turns about the patch's centre, image with order 1, label with order 0, both with background outside."""
    image, label = _pairs(12, 32)
    maps = random_maps(12, _random(7))
    turned, turned_label = augment(image, label, _random(7))
    for sample, linear in enumerate(maps[:, :, :2].double().numpy()):
        matrix = linear[::-1, ::-1]  # the maps tell (column, row), SciPy (row, column)
        centre = np.full(2, 15.5)
        offset = centre - matrix @ centre
        expected = ndimage.affine_transform(image[sample, 0].double().numpy() + 1, matrix, offset, order=1, mode="grid-constant") - 1
        np.testing.assert_allclose(turned[sample, 0].numpy(), expected, atol=1e-4)
        nearest = ndimage.affine_transform(label[sample, 0].double().numpy(), matrix, offset, order=0, mode="grid-constant")
        assert (turned_label[sample, 0].numpy() != nearest).mean() < 0.005  # but for ties between two voxels
