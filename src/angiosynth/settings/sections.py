"""All sections of params.yaml except `phantom`, `audit`, `release`, `sweep` and the generators."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from angiosynth.sections import (
    Batch,
    Count,
    Dropout,
    Number,
    Positive,
    Rate,
    Resamples,
    Section,
    Seed,
    SegmentationLoss,
    Text,
    Width,
)

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")  # of generators and sites; used for folders, DVC stages and MLflow
NAME_RULE = "lower-case letters, digits and hyphens, at most 40"
Percentile = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), Number]


class SplitSettings(Section):
    """Numbers of patients, or explicit lists of their names."""

    train: Count | tuple[Text, ...]
    validation: Count | tuple[Text, ...]
    test: Count | tuple[Text, ...]
    held_out: Count | tuple[Text, ...] = 0  # used only by the audit of the source's sets; a vessel label is optional
    voters: Count | tuple[Text, ...] = 0  # vote for kinds of generators that take votes, and nothing else; a vessel label is optional


class IntensitySettings(Section):
    """Percentiles inside the brain that are mapped to -1 and 1; rule "patch" is the published min-max scaling of each patch."""

    rule: Literal["volume", "patch"] = "volume"
    low: Percentile = 0.5
    high: Percentile = 99.9

    @model_validator(mode="after")
    def _ascending(self) -> IntensitySettings:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


class SiteSettings(Section):
    """One hospital: the BIDS folder of its scans, and the split of its patients."""

    path: Annotated[Text, Field(min_length=1)]
    split: SplitSettings


class CohortSettings(Section):
    """All sites. Generators are trained on patients of the source; all other sites are targets of transfer."""

    source: Text
    sites: Annotated[dict[str, SiteSettings], Field(min_length=1)]
    seed: Seed = 1
    intensity: IntensitySettings = IntensitySettings()

    @field_validator("sites", mode="before")
    @classmethod
    def _named(cls, sites: Any) -> Any:
        for name in sites if isinstance(sites, dict) else ():
            if not NAME.fullmatch(str(name)):
                raise ValueError(f"{ascii(str(name))[1:-1]} is not a name for a site; take {NAME_RULE}")
        return sites

    @model_validator(mode="after")
    def _source_is_there(self) -> CohortSettings:
        if self.source not in self.sites:
            raise ValueError(f"source: {ascii(self.source)[1:-1]} is none of the sites; there are {', '.join(self.sites)}")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the target sites of transfer."""
        return tuple(name for name in self.sites if name != self.source)

    @property
    def of_source(self) -> SiteSettings:
        """Settings of the source site."""
        return self.sites[self.source]


class PatchSettings(Section):
    size: Positive = 64
    on_vessels: Count = 400  # patches per patient centred on vessel voxels
    on_bright: Count = 300  # patches per patient centred on voxels that a threshold would confuse with vessels; 0 in the paper
    in_brain: Count = 300  # patches per patient centred on random brain voxels
    seed: Seed = 1


LabelSource = Literal["generator", "unet"]


class SynthesisSettings(Section):
    pairs: Positive
    labels: LabelSource = "generator"  # unet: the U-nets on real patches label the drawn images; a simulator keeps its own labels
    label_threshold: Annotated[float, Field(gt=-1, lt=1, allow_inf_nan=False), Number] = 0.0  # of generator labels, in their range
    seed: Seed = 1


class UnetSettings(Section):
    width: Width = 32
    steps: Positive
    batch_size: Batch = 32
    learning_rate: Rate = 1e-3
    loss: SegmentationLoss = "dice"
    dropout: Dropout = 0.0
    augmentation: bool = True
    validations: Positive = 4  # number of times whole validation volumes are scored, evenly spaced over the steps
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 1
    seeds: Annotated[int, Field(gt=0, le=100), Number] = 1  # trainings on each data set, with seed, seed + 1, and so on


class SelectionSettings(Section):
    """Grid of U-net settings from which validation patients select; an empty list keeps the value of section `unet`."""

    learning_rate: tuple[Rate, ...] = ()
    dropout: tuple[Dropout, ...] = ()
    augmentation: tuple[bool, ...] = ()

    @field_validator("*")
    @classmethod
    def _once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("holds a value twice")
        return values


class ProbeSettings(Section):
    """Small U-net that scores generator checkpoints on validation patients."""

    width: Width = 8
    steps: Positive = 100
    batch_size: Batch = 32
    learning_rate: Rate = 2e-3
    loss: SegmentationLoss = "dice"
    pairs: Positive = 1000
    slice_stride: Positive = 2  # every n-th axial slice of the validation volumes
    seed: Seed = 1


class EvaluationSettings(Section):
    bootstrap: Resamples = 2000
    seed: Seed = 1


class TransferSettings(Section):
    patients: Annotated[tuple[Positive, ...], Field(min_length=1)]  # numbers of training patients of a target
    subsets: Positive = 1  # random subsets of patients for each number, clipped to the number of patients
    steps: Positive  # the same for every start
    batch_size: Batch = 32
    learning_rate: Rate = 5e-4
    loss: SegmentationLoss = "dice"
    augmentation: bool = True
    validations: Positive = 3
    seed: Seed = 1


class WorthSettings(Section):
    """Learning curve of U-nets on real patches of fewer source patients, trained as in section `unet`: the worth of a set in patients."""

    patients: tuple[Positive, ...] = ()  # numbers of training patients; empty skips the stage
    subsets: Positive = 1  # random subsets of patients for each number
    together: bool = False  # also trains on each synthetic set joined with the patches of each subset
    seed: Seed = 1

    @model_validator(mode="after")
    def _has_patients(self) -> WorthSettings:
        if self.together and not self.patients:
            raise ValueError("together needs numbers of patients in worth.patients, such as [1, 3]")
        return self
