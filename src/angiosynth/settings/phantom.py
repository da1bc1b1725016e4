"""Section `phantom` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from angiosynth.sections import Count, Fraction, NonNegative, Number, Positive, PositiveFloat, Section, Seed

Side = Annotated[int, Field(gt=0, le=2048), Number]


class ScannerSettings(Section):
    """One phantom site: number of patients and properties of its scanner."""

    patients: Positive
    unlabelled: Count = 0  # further patients, without a vessel label
    shape: tuple[Side, Side, Side]  # voxels
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    orientation: Literal["RAS", "LAS", "LPS", "RPS"] = "RAS"  # of the stored axes
    slabs: Positive = 2
    slab_step: Fraction = 0.12  # relative signal step between adjacent slabs
    saturation: Fraction = 0.45  # fraction of the inflow signal lost along one slab in an artery of 1.1 mm radius
    vessel_contrast: PositiveFloat = 1.9  # signal of unsaturated blood above tissue, relative to white matter
    tissue_contrast: NonNegative = 1.0  # differences between tissues, relative to the default
    noise: NonNegative = 0.075  # standard deviation of the Rician noise, relative to white matter
    blur_mm: NonNegative = 0.3  # standard deviation of the point spread function
    bias: Fraction = 0.22  # relative depth of the coil sensitivity field


class PhantomSettings(Section):
    seed: Seed = 1
    diseased: Fraction = 0.5  # fraction of patients with stenoses or an occlusion
    sites: dict[str, ScannerSettings] = Field(default_factory=dict)  # name -> scanner; drawn into data/phantom/<name>
