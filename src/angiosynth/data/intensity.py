"""Load the files of a patient and scale the intensities, with one rule for volumes and patches.

MR intensities have no unit and vary between scanners and coils. Percentiles of the volume inside the brain are therefore mapped to -1, 1;
percentiles instead of extremes, because a few very bright voxels would otherwise determine the scale. Patches are cut from scaled volumes,
so training and prediction use the same scale. Slow variations of brightness across a volume (bias fields) are not corrected.
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
    """Arrays of a patient, all (x, y, z) in canonical order.

    Attributes:
        patient: name of the patient.
        image: in [-1, 1]; -1 outside the brain.
        brain: brain mask; the whole volume if there is no mask.
        label: vessel label inside the brain, or None.
        spacing_mm: voxel size along x, y, z.
        path: file of the scan, whose grid a written prediction gets.
        sha256: digest of that file; "" if the scan was not read from a file.
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
        """The label. Raises InputError if there is none."""
        if self.label is None:
            raise InputError(f"{self.path}: has no vessel label to compare with; take {self.patient} out of the split")
        return self.label


def load_scan(patient: Patient, intensity: IntensitySettings) -> Scan:
    """Read the files of a patient and scale the scan.

    Rule "volume" maps the percentiles `low` and `high` of the brain's voxels to -1 and 1 and clips values outside. It is the default,
    because training patches and test volumes then have the same scale. Rule "patch" reproduces the published code: minimum and maximum of
    the brain are mapped to -1 and 1, and `build_patches` stretches every patch again, so that training and prediction differ in scale.

    Raises:
        InputError: a file is unusable, grids disagree, or the brain has no contrast between the percentiles.
    """
    loaded = load_volume(patient.image)
    volume = loaded.volume
    brain = np.ones(volume.array.shape, np.bool_, order="F") if patient.brain is None else _mask(patient.brain, volume)
    label = None if patient.label is None else _mask(patient.label, volume) & brain
    bottom, top = intensity_range(volume.array[brain], intensity, patient.image)
    # The range is taken over the whole brain instead of a slice or patch, so that equal tissue has equal values throughout the volume.
    image = volume.array
    _stretch(image, bottom, top)
    image[~brain] = -1.0  # the value of air
    return Scan(patient.id, image, brain, label, volume.spacing_mm, patient.image, loaded.sha256)


def intensity_range(inside: NDArray[np.float32], intensity: IntensitySettings, path: Path) -> tuple[float, float]:
    """Return the two intensities of a scan that are mapped to -1 and 1.

    Args:
        inside: (n,) voxels of the brain; reordered in place.
        intensity: the rule.
        path: file of the scan, for messages.

    Raises:
        InputError: the two intensities are equal.
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
    """Scale a patch (x, y) so that its minimum becomes -1 and its maximum 1. A constant patch becomes -1."""
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
    """Map bottom..top to [-1, 1] and clip, in place, because copying the volume would take longer than the arithmetic."""
    image -= np.float32(bottom)
    image *= np.float32(2.0 / (top - bottom))
    image -= np.float32(1.0)
    np.clip(image, -1.0, 1.0, out=image)
