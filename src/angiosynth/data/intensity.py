"""Load a patient's files and scale the intensities: the one rule for volumes and patches.

MR intensities have no unit, and coils make them vary between scanners. So a volume's percentiles inside the brain become -1 and 1;
percentiles rather than extremes, since a few very bright voxels would otherwise set the scale. Patches are cut from scaled volumes, so
training and prediction share one scale. Slow changes of brightness across a volume (bias fields) are not corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Image, Mask, SpacingMm
from angiosynth.data.bids import Patient
from angiosynth.data.grids import grid_fault, same_grid
from angiosynth.data.nifti import Volume, load_mask, load_volume
from angiosynth.errors import InputError
from angiosynth.settings import IntensitySettings


@dataclass(frozen=True)
class Scan:
    """A patient's arrays, all (x, y, z) in canonical order.

    image: [-1, 1], -1 outside the brain. brain: the whole volume where no mask was given. label: inside the brain
    only, None where there is none. path: the scan's file, for writing a prediction on its grid. sha256: of that file, "" for a scan that
    was not read from one.
    """

    patient: str
    image: Image
    brain: Mask
    label: Mask | None
    spacing_mm: SpacingMm
    path: Path
    sha256: str = ""

    @property
    def truth(self) -> Mask:
        """The label, for where one is needed. InputError where there is none."""
        if self.label is None:
            raise InputError(f"{self.path}: has no vessel label to compare with; take {self.patient} out of the split")
        return self.label


def load_scan(patient: Patient, intensity: IntensitySettings) -> Scan:
    """Read a patient and scale the scan.

    Rule "volume" maps the percentiles `low` and `high` of the brain's voxels to -1 and 1 and clips beyond. It is the
    default since training patches and test volumes then have the same scale. Rule "patch" reproduces the published code:
    the least and greatest brain value of the volume become -1 and 1, and `build_patches` stretches every patch
    again, so the scale differs between training and prediction.

    Raises:
        InputError: a file is unusable, grids disagree, or the brain has no contrast between the percentiles.
    """
    loaded = load_volume(patient.image)
    volume = loaded.volume
    brain = np.ones(volume.array.shape, np.bool_, order="F") if patient.brain is None else _mask(patient.brain, volume)
    label = None if patient.label is None else _mask(patient.label, volume) & brain
    bottom, top = intensity_range(volume.array[brain], intensity, patient.image)
    # The range is that of the whole brain, not of a slice or patch, so that equal tissue has equal values everywhere in a volume.
    image = volume.array
    _stretch(image, bottom, top)
    image[~brain] = -1.0  # outside the brain, as air
    return Scan(patient.id, image, brain, label, volume.spacing_mm, patient.image, loaded.sha256)


def intensity_range(inside: NDArray[np.float32], intensity: IntensitySettings, path: Path) -> tuple[float, float]:
    """The values of a scan that become -1 and 1.

    Args:
        inside: (n,) the brain's voxels; reordered in place.
        intensity: the rule.
        path: the scan, for messages.

    Raises:
        InputError: the two are equal.
    """
    low, high = (intensity.low, intensity.high) if intensity.rule == "volume" else (0.0, 100.0)
    bottom, top = (float(value) for value in np.percentile(inside, (low, high), overwrite_input=True))
    if not top > bottom:
        raise InputError(
            f"{path}: no contrast inside the brain, percentiles {low:g} and {high:g} are {bottom:g} and {top:g}; "
            "check the scan, or widen cohort.intensity"
        )
    return bottom, top


def stretch_patch(patch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a patch (x, y) so that its least value becomes -1, its greatest 1; a constant patch becomes -1 throughout."""
    bottom, top = float(patch.min()), float(patch.max())
    stretched = np.array(patch, np.float32)
    if top > bottom:
        _stretch(stretched, bottom, top)
    else:
        stretched.fill(-1.0)
    return stretched


def _mask(path: Path, scan: Volume) -> Mask:
    mask = load_mask(path).volume
    if not same_grid(scan, mask):
        raise InputError(grid_fault(path, mask, scan))
    return mask.array


def _stretch(image: NDArray[np.float32], bottom: float, top: float) -> None:
    """Map bottom..top to [-1, 1] in place and clip beyond: a copy of the volume would take longer than the rest."""
    image -= np.float32(bottom)
    image *= np.float32(2.0 / (top - bottom))
    image -= np.float32(1.0)
    np.clip(image, -1.0, 1.0, out=image)
