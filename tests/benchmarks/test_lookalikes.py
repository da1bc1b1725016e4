"""The look-alikes of a drawn patient lie where his image is bright and his label is empty."""

from __future__ import annotations

import numpy as np

from angiosynth.phantom.drawing import generate_patient
from angiosynth.settings import ScannerSettings
from benchmarks.lookalikes import draw_lookalikes

SCANNER = ScannerSettings(patients=1, shape=(72, 84, 24), spacing_mm=(2.1, 2.1, 2.2), noise=0.0, bias=0.0, blur_mm=0.0)


def test_veins_and_bright_tissue_lie_in_the_patients_own_image() -> None:
    image, brain, label, _ = generate_patient(SCANNER, 3, 2, False, "site-a")
    own = draw_lookalikes(SCANNER, 3, 2, "site-a")
    assert own.veins.shape == own.bright.shape == image.shape
    veins, bright, rest = (mask & brain & ~label for mask in (own.veins, own.bright, ~own.veins & ~own.bright))
    assert veins.sum() > 50
    assert bright.sum() > 50
    typical = np.median(image[rest])
    assert np.median(image[bright]) > 1.1 * typical
    assert np.percentile(image[veins], 75) > typical
    other = draw_lookalikes(SCANNER, 3, 1, "site-a")
    assert (other.veins & own.veins).sum() < 0.7 * own.veins.sum(), "another patient has other veins"
