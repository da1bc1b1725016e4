"""Labels as channels: masks, signed distances, their mean and deviation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from angiosynth.generators.flow.encoding import LEAST_DEVIATION, channel_statistics, encode_pairs, signed_distance
from tests.factories import tiny_flow, tiny_patches

MASK, DISTANCE = tiny_flow(label="mask"), tiny_flow(label="distance", distance_clip=2.0)


def _label(*rows: str) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.array([[pixel == "x" for pixel in row] for row in rows])


def test_distances_by_hand() -> None:
    label = _label("....", ".xxx", ".xxx", ".xxx")
    r2 = np.sqrt(2)
    expected = [
        [0.5 - r2, -0.5, -0.5, -0.5],
        [-0.5, 0.5, 0.5, 0.5],
        [-0.5, 0.5, 1.5, 1.5],
        [-0.5, 0.5, 1.5, 2.5],
    ]
    np.testing.assert_allclose(signed_distance(label[None])[0], expected, rtol=1e-6)


def test_a_patch_without_a_border_is_far_on_its_side_whatever_else_is_in_the_batch() -> None:
    some = _label("x...", "....", "....", "....")
    empty, full = np.zeros_like(some), np.ones_like(some)
    for others in ([], [some], [some, some]):
        distances = signed_distance(np.stack([empty, full, *others]))
        assert (distances[0] < -1000).all()
        assert (distances[1] > 1000).all()
    together = signed_distance(np.stack([some, empty, some.T, full]))
    np.testing.assert_array_equal(together[0], signed_distance(some[None])[0])
    np.testing.assert_array_equal(together[2], signed_distance(some[None])[0].T)


def test_the_distance_cut_at_zero_is_the_label() -> None:
    label = np.random.default_rng(1).random((20, 16, 16)) < 0.2
    np.testing.assert_array_equal(signed_distance(label) > 0, label)
    np.testing.assert_array_equal(signed_distance(label[:, ::-1]), signed_distance(label)[:, ::-1])


def test_channels_are_the_image_and_the_label_in_either_form() -> None:
    image, label = (torch.from_numpy(part) for part in tiny_patches(3).pairs(range(3)))
    for settings in (MASK, DISTANCE):
        pairs = encode_pairs(settings, image, label)
        assert pairs.shape == (3, 2, 16, 16)
        assert pairs.dtype == torch.float32
        assert torch.equal(pairs[:, 0], image)
        assert torch.equal(pairs[:, 1] > 0, label > 0.5)
        assert pairs[:, 1].abs().max() == 1
    assert torch.equal(encode_pairs(MASK, image, label)[:, 1], 2 * label - 1)
    # bands of three pixels: 0.5, 1.5 and 0.5 from the border, divided by the clip of 2; one lies at the patch's edge, which is no border
    assert encode_pairs(DISTANCE, image, label)[:, 1].unique().tolist() == [-1.0, -0.75, -0.25, 0.25, 0.75, 1.0]


@pytest.mark.parametrize("settings", [MASK, DISTANCE], ids=["mask", "distance"])
def test_mean_and_deviation_are_those_of_all_pairs(settings: object) -> None:
    patches = tiny_patches(9)
    mean, deviation = channel_statistics(settings, patches)  # type: ignore[arg-type]
    image, label = (torch.from_numpy(part) for part in patches.pairs(range(9)))
    for channel, values in enumerate(encode_pairs(settings, image, label).unbind(dim=1)):  # type: ignore[arg-type]
        assert mean[channel].item() == pytest.approx(values.mean().item(), abs=1e-6)
        assert deviation[channel].item() == pytest.approx(values.std(correction=0).item(), abs=1e-6)


def test_a_set_without_vessels_has_a_deviation_to_divide_by() -> None:
    patches = tiny_patches(4)
    bare = replace(patches, label=np.zeros_like(patches.label))
    mean, deviation = channel_statistics(MASK, bare)
    assert mean[1] == -1
    assert deviation[1] == pytest.approx(LEAST_DEVIATION)
