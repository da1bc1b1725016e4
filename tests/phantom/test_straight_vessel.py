"""One straight vessel through the whole way from tree to volume: the label and the signal against geometry."""

from __future__ import annotations

import numpy as np
import pytest

from angiosynth.phantom import drawing as phantom
from angiosynth.phantom import pose
from angiosynth.phantom.drawing import generate_patient
from angiosynth.phantom.lesions import narrow, occlude
from angiosynth.phantom.vessel_tree import Tree
from angiosynth.settings import ScannerSettings

# All of it lies in the brain. Blood stays below the 8-bit limit, and nothing but tissue and vessels is in the image.
SCANNER = ScannerSettings(
    patients=1,
    shape=(40, 36, 24),
    spacing_mm=(0.5, 0.6, 1.0),
    slabs=1,
    slab_step=0.0,
    vessel_contrast=0.9,
    noise=0.0,
    blur_mm=0.0,
    bias=0.0,
)
RADIUS_MM = 3.1
X_MM, Y_MM = 12.3, -11.2  # of the vessel, which rises along z and flows upwards
MIDDLE = SCANNER.shape[2] // 2


def straight() -> Tree:
    height = np.arange(-40.0, 80.0, 0.8)
    count = len(height)
    points = np.stack([np.full(count, X_MM), np.full(count, Y_MM), height], axis=1)
    return Tree(points, np.arange(count) - 1, np.full(count, RADIUS_MM), np.ones(count), np.full(count, "M1"))


def scan_of(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    monkeypatch.setattr(pose, "CENTRE_MM", (12.0, -12.0, 16.0))
    monkeypatch.setattr(phantom, "draw_pose", lambda _: pose.Pose(np.eye(3), np.zeros(3)))
    monkeypatch.setattr(phantom, "grow_tree", lambda *_: tree)
    return generate_patient(SCANNER, seed=1, patient=1, is_diseased=False)


def place_at(tree: Tree, affine: np.ndarray, index: int) -> int:
    """The tree's point nearest to the middle of an axial slice."""
    return int(np.argmin(np.abs(tree.points[:, 2] - (affine[2, 3] + index * affine[2, 2]))))


def test_label_is_where_half_the_voxel_or_more_is_vessel(monkeypatch: pytest.MonkeyPatch) -> None:
    _, brain, label, affine = scan_of(straight(), monkeypatch)
    assert brain.all()
    fine = 60
    x, y = (affine[axis, 3] + ((np.arange(SCANNER.shape[axis] * fine) + 0.5) / fine - 0.5) * affine[axis, axis] for axis in range(2))
    inside = (x[:, None] - X_MM) ** 2 + (y[None, :] - Y_MM) ** 2 <= RADIUS_MM**2
    share = inside.reshape(SCANNER.shape[0], fine, SCANNER.shape[1], fine).mean(axis=(1, 3))
    sure = np.abs(share - 0.5) > 0.08  # 64 sub-voxels know a share no better
    assert np.count_nonzero(~sure) < 25
    for index in range(SCANNER.shape[2]):
        np.testing.assert_array_equal(label[:, :, index][sure], (share >= 0.5)[sure])
    area = label.sum(axis=(0, 1)) * 0.5 * 0.6
    np.testing.assert_allclose(area, np.pi * RADIUS_MM**2, rtol=0.04)


def test_stenosis_narrows_the_label_where_it_is_and_dims_what_lies_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = straight()
    image, _, label, affine = scan_of(healthy, monkeypatch)
    sick = narrow(healthy, place_at(healthy, affine, MIDDLE), severity=0.5, half_length_mm=3.0)
    sick_image, _, sick_label, _ = scan_of(sick, monkeypatch)
    area = sick_label.sum(axis=(0, 1)) * 0.5 * 0.6
    assert area[MIDDLE] == pytest.approx(np.pi * (0.5 * RADIUS_MM) ** 2, rel=0.15)
    np.testing.assert_array_equal(sick_label[:, :, 0], label[:, :, 0])
    core = label[:, :, 0] & sick_label[:, :, MIDDLE]
    before, behind = slice(0, MIDDLE - 9), slice(MIDDLE, None)
    np.testing.assert_array_equal(sick_image[core][:, before], image[core][:, before])
    assert np.all(sick_image[core][:, behind] < image[core][:, behind])


def test_occlusion_leaves_neither_label_nor_signal_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = straight()
    image, _, label, affine = scan_of(healthy, monkeypatch)
    shut = occlude(healthy, place_at(healthy, affine, MIDDLE))
    shut_image, _, shut_label, _ = scan_of(shut, monkeypatch)
    ball = int(np.ceil(RADIUS_MM)) + 1  # the closed end is round
    np.testing.assert_array_equal(shut_label[:, :, : MIDDLE - 1], label[:, :, : MIDDLE - 1])
    assert not shut_label[:, :, MIDDLE + ball :].any()
    tissue = np.median(image[~label])
    vessel = label[:, :, MIDDLE]
    assert np.median(image[vessel][:, MIDDLE + ball :]) > 1.4 * tissue
    assert np.median(shut_image[vessel][:, MIDDLE + ball :]) < 1.15 * tissue


def test_blood_fades_from_the_slabs_entry_to_its_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _, label, _ = scan_of(straight(), monkeypatch)
    centre = label.all(axis=2)
    signal = np.array([np.median(image[:, :, index][centre]) for index in range(SCANNER.shape[2])])
    assert np.all(np.diff(signal) <= 0)
    assert signal[-1] < signal[0] - 10
