"""The head's shape and its tissues: where the brain is, and what each tissue's signal is."""

from __future__ import annotations

import numpy as np
import pytest

from angiosynth.phantom.head import AIR, CSF, GREY, WHITE, HeadShape, draw_shape
from angiosynth.phantom.tissue import draw_tissue

HEAD = HeadShape(scale=1.0, half_mm=(66.0, 80.0, 64.0))
SPACING = (3.0, 3.0, 3.0)
GRID = tuple(np.arange(low, high, 3.0).astype(np.float32) for low, high in ((-84, 85), (-108, 85), (-45, 90)))


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = (np.ascontiguousarray(axis, np.float32) for axis in np.meshgrid(*GRID, indexing="ij"))
    return draw_tissue(HEAD, (x, y, z), SPACING, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    return drawn(1)


def rho() -> np.ndarray:
    return np.asarray(HEAD.rho(*np.meshgrid(*GRID, indexing="ij")))


def at(volume: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """The 27 voxels around a point in mm."""
    i, j, k = (int(np.argmin(np.abs(axis - place))) for axis, place in zip(GRID, (x, y, z), strict=True))
    return volume[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]


def test_the_same_stream_draws_the_same_tissue_and_another_one_another(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(drawn(1)[0], tissue[0])
    assert np.abs(drawn(2)[0] - tissue[0]).mean() > 0.02


def test_brain_mask_follows_the_egg_and_the_skull_base(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    brain = tissue[1]
    high = np.broadcast_to(GRID[2] > 30, brain.shape)
    assert brain[high & (rho() < 0.93)].all()
    assert not brain[high & (rho() > 1.09)].any()
    floor = HEAD.base_mm(*np.meshgrid(*GRID[:2], indexing="ij"))[:, :, None]
    assert not brain[GRID[2] < floor - 8].any()


def test_signals_of_tissues(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    signal, brain = tissue
    assert GREY - 0.05 < np.median(signal[brain]) < WHITE + 0.02
    np.testing.assert_allclose(signal[rho() > 1.25], AIR)
    for side in (1, -1):  # the side ventricles' front horns, before the plexus
        assert np.median(at(signal, side * 5, 3, 24)) == pytest.approx(CSF, abs=0.1)
    assert np.percentile(signal[brain & (signal > 0.85)], 75) == pytest.approx(WHITE, abs=0.06)


def test_rho_is_one_at_the_ends_of_the_half_axes_and_grows_outwards() -> None:
    x, y, z = HEAD.centre_mm
    ends = np.array([[x + 66, y, z], [x - 66, y, z], [x, y + 80, z], [x, y - 80, z], [x, y, z + 64]])
    np.testing.assert_allclose(HEAD.rho(*ends.T), 1, rtol=1e-5)
    assert float(HEAD.rho(*(ends[0] * 1.1))) > 1.05


def test_points_move_to_a_depth_and_stay_on_their_ray() -> None:
    points = np.random.default_rng(1).normal(0, 30, (50, 3)) + HEAD.centre_mm
    moved = HEAD.to_depth(points, np.full(50, 7.0))
    np.testing.assert_allclose(HEAD.rho(*moved.T), 1 - 7 / 70, atol=0.03)  # 70 mm: the mean half axis; an egg is no ball
    before, after = points - HEAD.centre_mm, moved - HEAD.centre_mm
    np.testing.assert_allclose(np.cross(before, after), 0, atol=1e-6)
    assert np.all((before * after).sum(axis=1) > 0)


def test_heads_differ_between_patients_within_bounds() -> None:
    heads = [draw_shape(np.random.default_rng(seed)) for seed in range(200)]
    scales = np.array([head.scale for head in heads])
    assert 0.93 <= scales.min() < 0.97 < 1.03 < scales.max() <= 1.06
    assert len({head.half_mm for head in heads}) == 200
