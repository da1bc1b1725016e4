"""Training patches from heads drawn by the phantom, cut as a site's patches are. They contain no patient's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from angiosynth.arrays import ImagePatches, LabelPatches, to_levels
from angiosynth.data.intensity import Scan, intensity_range
from angiosynth.data.patch_centres import cut_square, draw_centres
from angiosynth.phantom.drawing import generate_patient
from angiosynth.settings import IntensitySettings, PatchSettings, ScannerSettings


def drawn_patches(scanner: ScannerSettings, patches: PatchSettings, seed: int, number: int, site: str) -> tuple[ImagePatches, LabelPatches]:
    """Draw one head, diseased if its number is even, and cut patches from the scaled scan.

    Args:
        scanner: the scanner to simulate.
        patches: size and numbers of patches.
        seed, number, site: determine the head, together with the scanner.

    Returns:
        Images (n, x, y) of levels and labels (n, x, y).
    """
    volume, brain, label, _ = generate_patient(scanner, seed, number, number % 2 == 0, site)
    path = Path(f"sub-{number:03d}")
    bottom, top = intensity_range(volume[brain].astype(np.float32), IntensitySettings(), path)
    scaled = np.clip((volume.astype(np.float32) - bottom) * (2.0 / (top - bottom)) - 1.0, -1.0, 1.0).astype(np.float32)
    scaled[~brain] = -1.0
    centres, _ = draw_centres(Scan(path.name, scaled, brain, label, scanner.spacing_mm, path), patches)
    image = np.stack([cut_square(scaled[:, :, z], x, y, patches.size, outside=-1.0) for x, y, z in centres])
    mask = np.stack([cut_square(label[:, :, z], x, y, patches.size, outside=0) for x, y, z in centres])
    return to_levels(image), mask.astype(np.uint8)
