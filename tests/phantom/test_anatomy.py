"""A head that is drawn once and scanned by several scanners."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from angiosynth.phantom.anatomy import Anatomy, draw_anatomy
from angiosynth.phantom.drawing import generate_patient
from angiosynth.settings import ScannerSettings

SHAPE, SPACING_MM = (48, 56, 10), (4.0, 4.0, 6.0)


@dataclass(frozen=True)
class Scanner:
    slabs: int = 2
    slab_step: float = 0.12
    saturation: float = 0.45
    vessel_contrast: float = 1.9
    tissue_contrast: float = 1.0
    vein_contrast: float = 1.0
    noise: float = 0.075
    blur_mm: float = 0.3
    bias: float = 0.22


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return draw_anatomy(SHAPE, SPACING_MM, 1, 1, True)


def scanned(anatomy: Anatomy, scanner: Scanner) -> np.ndarray:
    return anatomy.scanned(scanner, np.random.default_rng(4))


@pytest.mark.parametrize(
    "other",
    [
        {"slabs": 3},
        {"slab_step": 0.3},
        {"saturation": 0.8},
        {"vessel_contrast": 1.2},
        {"tissue_contrast": 1.6},
        {"vein_contrast": 0.5},
        {"noise": 0.15},
        {"blur_mm": 4.0},
        {"bias": 0.4},
    ],
    ids=lambda other: next(iter(other)),
)
def test_every_setting_changes_the_image_and_none_the_anatomy(anatomy: Anatomy, other: dict[str, Any]) -> None:
    before = anatomy.vessel_fraction()
    assert (scanned(anatomy, Scanner()) != scanned(anatomy, replace(Scanner(), **other))).mean() > 0.001
    np.testing.assert_array_equal(anatomy.vessel_fraction(), before)


def test_a_head_depends_on_seed_and_number_alone(anatomy: Anatomy) -> None:
    again = draw_anatomy(SHAPE, SPACING_MM, 1, 1, True)
    np.testing.assert_array_equal(again.tissue, anatomy.tissue)
    np.testing.assert_array_equal(again.arteries.voxels, anatomy.arteries.voxels)
    assert (draw_anatomy(SHAPE, SPACING_MM, 1, 2, True).tissue != anatomy.tissue).any()


def test_scans_look_like_those_of_a_site_with_the_same_scanner() -> None:
    """Brightness of brain and vessels of the two ways to draw a patient, over a few heads; coil and anatomy differ from head to head."""
    site = ScannerSettings(patients=1, shape=SHAPE, spacing_mm=SPACING_MM, bias=0.0)
    ratios: dict[str, list[float]] = {"site": [], "anatomy": []}
    for number in range(4):
        image, brain, label, _ = generate_patient(site, 1, number, False)
        ratios["site"].append(image[label].mean() / image[brain].mean())
        drawn = draw_anatomy(SHAPE, SPACING_MM, 1, number, False)
        image, label = scanned(drawn, replace(Scanner(), bias=0.0)), drawn.vessel_fraction() >= 0.5
        ratios["anatomy"].append(image[label].mean() / image[drawn.brain].mean())
    assert np.mean(ratios["anatomy"]) == pytest.approx(np.mean(ratios["site"]), rel=0.05)
