"""Signal of vessels, and effects of a scanner on the image of a head."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from angiosynth.phantom.head import Field, smooth_noise
from angiosynth.phantom.tubes import Drawn
from angiosynth.phantom.vessel_tree import Tree

TISSUE_LEVEL = 110.0  # stored value of white matter


class Scanner(Protocol):
    """Settings of a scanner that affect the image but not the grid; `ScannerSettings` has the same names."""

    @property
    def slabs(self) -> int: ...
    @property
    def slab_step(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def blur_mm(self) -> float: ...
    @property
    def bias(self) -> float: ...


def slowness(tree: Tree) -> NDArray[np.float64]:
    """Return the transit time (n,) of the blood at each point, relative to a healthy artery of 1.1 mm radius."""
    return np.asarray(np.clip((1.1 / tree.radii_mm) ** 0.8, 0.4, 1.6) / tree.flow)


def inflow(slow: NDArray[np.float64], in_slab: NDArray[np.float64], saturation: float) -> NDArray[np.float64]:
    """Compute the signal (n,) of blood relative to unsaturated blood. Blood saturates on its way up through a slab, slow blood more.

    Args:
        slow: (n,) result of `slowness`.
        in_slab: (n,) relative height above the lower end of the slab, 0..1.
        saturation: fraction of the signal that is lost along one slab in an artery of 1.1 mm radius.
    """
    return np.clip(1 - saturation * slow * (0.35 + 0.65 * in_slab), 0.12, 1.0)


def add_vessels(tissue: Field, drawn: Drawn, contrast: float) -> None:
    """Blend vessels into the tissue in place, weighted by their fraction of each voxel (partial volume)."""
    flat = tissue.reshape(-1)
    fraction = drawn.fraction.astype(np.float32)
    blood = (1 + contrast * drawn.signal).astype(np.float32)
    flat[drawn.voxels] += fraction * (blood - flat[drawn.voxels])


def scan(tissue: Field, scanner: Scanner, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply blur, slab steps, coil profile and Rician noise, and convert to 8 bits, where the brightest blood is clipped."""
    shape = (tissue.shape[0], tissue.shape[1], tissue.shape[2])
    # Blur by the point spread function, a separable Gaussian.
    for axis, spacing in enumerate(spacing_mm):
        if scanner.blur_mm > 0:
            tissue = gaussian_filter1d(tissue, scanner.blur_mm / spacing, axis=axis, truncate=3.0)
    # Within each slab the signal falls linearly from bottom to top; each slab also has a random level.
    slices = np.arange(shape[2]) / shape[2] * scanner.slabs
    steps = 1 + scanner.slab_step * (0.5 - slices % 1.0) + 0.3 * scanner.slab_step * rng.standard_normal(scanner.slabs)[slices.astype(int)]
    # The coil profile is the exponential of a smooth random field.
    field = smooth_noise(shape, spacing_mm, 70.0, rng)
    tissue = tissue * np.exp(np.float32(0.6 * scanner.bias) * field) * steps.astype(np.float32)
    # The magnitude of a complex signal with normal noise in both parts has a Rician distribution.
    deviation = np.float32(scanner.noise)
    real = tissue + deviation * rng.standard_normal(shape, dtype=np.float32)
    imaginary = deviation * rng.standard_normal(shape, dtype=np.float32)
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    return np.asarray(np.clip(np.rint(magnitude * np.float32(TISSUE_LEVEL)), 0, 255), np.uint8)
