"""params.yaml as frozen, validated models. Each section is what one kind of stage depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from angiosynth.errors import InputError
from angiosynth.reading import read_text
from angiosynth.settings.audit import AuditSettings, ReleaseSettings
from angiosynth.settings.checks import faults
from angiosynth.settings.phantom import PhantomSettings
from angiosynth.settings.phantom import ScannerSettings as ScannerSettings
from angiosynth.settings.sections import (
    Batch,
    Count,
    Decay,
    Dropout,
    NonNegative,
    Number,
    Positive,
    PositiveFloat,
    Rate,
    Resamples,
    Section,
    Seed,
    SegmentationLoss,
    Text,
    Width,
)
from angiosynth.settings.sweep import SweepSettings
from angiosynth.settings.yaml_text import MOST_YAML, parse_yaml

Model = Literal["dcgan", "wgan-gp", "wgan-gp-sn"]
MODELS: tuple[Model, ...] = ("dcgan", "wgan-gp", "wgan-gp-sn")
TRAINING_DATA: tuple[str, ...] = ("real", *MODELS)
SITES: tuple[str, ...] = ("site-a", "site-b")
Percentile = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), Number]


class SplitSettings(Section):
    """Numbers of patients, or explicit lists of their names."""

    train: Count | tuple[Text, ...]
    validation: Count | tuple[Text, ...]
    test: Count | tuple[Text, ...]


class IntensitySettings(Section):
    """Percentiles inside the brain that become -1 and 1; `patch` is the published min-max of each patch."""

    rule: Literal["volume", "patch"] = "volume"
    low: Percentile = 0.5
    high: Percentile = 99.9

    @model_validator(mode="after")
    def _ascending(self) -> IntensitySettings:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


NO_SITE = "data/none"  # DVC takes no empty path in dvc.yaml, so this empty folder stands there for "no second site"


class CohortSettings(Section):
    site_a: Annotated[Text, Field(min_length=1)]
    site_b: Text = ""
    seed: Seed = 1
    split_a: SplitSettings
    split_b: SplitSettings
    intensity: IntensitySettings = IntensitySettings()

    @field_validator("site_b")
    @classmethod
    def _none_is_empty(cls, path: str) -> str:
        return "" if path and os.path.relpath(path) == NO_SITE else path

    @field_serializer("site_b")
    def _empty_is_none(self, path: str) -> str:
        return path or NO_SITE


class PatchSettings(Section):
    size: Positive = 64
    on_vessels: Count = 400  # patches a patient centred on a vessel voxel
    on_bright: Count = 300  # patches a patient centred on what a threshold would take for a vessel; 0 in the paper
    in_brain: Count = 300  # patches a patient centred on a brain voxel
    seed: Seed = 1


class GanCommon(Section):
    width: Width
    upsampling: Literal["resize", "transposed"] = "resize"
    sharpen: bool = True  # one more layer in the generator, at the patch's own resolution
    noise: bool = True  # maps of noise beside the latent vector, for the grain of the scan
    label_range: Literal["signed", "binary"] = "signed"  # binary: 0 and 1, cut at 0.8, as published
    ema: Decay = 0.995  # decay of the averaged generator, 0 for none
    decay: bool = True  # learning rates fall to nothing over the second half
    flip: bool = True  # mirror real pairs left-right at random
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_choice: Literal["probe_dsc", "last"] = "probe_dsc"
    probes: Positive = 3  # how often the probe looks, evenly over the training's second half
    checkpoint_every: Positive = 200  # steps between two resume files
    seed: Seed = 1


class GanModel(Section):
    steps: Positive  # generator steps
    latent_size: Batch = 128
    batch_size: Batch = 32
    critic_iterations: Positive
    learning_rate_generator: Rate
    learning_rate_critic: Rate
    betas: tuple[Decay, Decay]


class DcganSettings(GanModel):
    real_target: tuple[NonNegative, NonNegative] = (0.7, 1.2)
    fake_target: tuple[NonNegative, NonNegative] = (0.0, 0.3)
    feature_matching_weight: PositiveFloat = 0.01  # the generator's whole loss
    minibatch_kernels: Batch = 100
    minibatch_dimensions: Batch = 5


class WganGpSettings(GanModel):
    gradient_penalty_weight: NonNegative = 10.0
    gradient_penalty: Literal["sample", "batch"] = "sample"


class WganGpSnSettings(WganGpSettings):
    spectral_norm: Literal["critic", "both"] = "critic"


class GanSettings(Section):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    common: GanCommon
    dcgan: DcganSettings
    wgan_gp: WganGpSettings = Field(alias="wgan-gp")
    wgan_gp_sn: WganGpSnSettings = Field(alias="wgan-gp-sn")

    def of(self, model: str) -> DcganSettings | WganGpSettings | WganGpSnSettings:
        """The settings of one model by its name."""
        found: DcganSettings | WganGpSettings | WganGpSnSettings = getattr(self, model.replace("-", "_"))
        return found


class SynthesisSettings(Section):
    pairs: Positive
    label_threshold: Annotated[float, Field(gt=-1, lt=1, allow_inf_nan=False), Number] = 0.0  # on the generator's own label range
    seed: Seed = 1


class UnetSettings(Section):
    width: Width = 32
    steps: Positive
    batch_size: Batch = 32
    learning_rate: Rate = 1e-3
    loss: SegmentationLoss = "dice"
    dropout: Dropout = 0.0
    augmentation: bool = True
    validations: Positive = 4  # how often whole validation volumes are scored, evenly over the steps
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 1
    seeds: Annotated[int, Field(gt=0, le=100), Number] = 1  # trainings on each data: with seed, seed + 1, and so on


class SelectionSettings(Section):
    """Values of the U-net's settings to choose among on validation patients; an empty list leaves the one of section `unet`."""

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
    """The small U-net that scores a GAN's checkpoint on validation patients."""

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
    patients: Annotated[tuple[Positive, ...], Field(min_length=1)]  # the numbers of site B's patients to train with
    subsets: Positive = 1  # random subsets of patients for each number, as many as there are patients at most
    steps: Positive  # of every start alike
    batch_size: Batch = 32
    learning_rate: Rate = 5e-4
    loss: SegmentationLoss = "dice"
    augmentation: bool = True
    validations: Positive = 3
    seed: Seed = 1


LONGEST_KEY = 100  # characters of it that a message shows
BRANCH = re.compile(r"(function-|constrained-|tuple\[)")  # in the place of an error that lies in a union


class Settings(Section):
    """All of params.yaml."""

    phantom: PhantomSettings
    cohort: CohortSettings
    patches: PatchSettings
    gan: GanSettings
    probe: ProbeSettings
    synthesis: SynthesisSettings
    unet: UnetSettings
    selection: SelectionSettings = SelectionSettings()
    evaluation: EvaluationSettings
    transfer: TransferSettings
    audit: AuditSettings
    release: ReleaseSettings
    sweep: SweepSettings

    @model_validator(mode="after")
    def _sections_agree(self) -> Settings:
        if found := list(faults(self)):
            raise ValueError(found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))
        return self


def load_settings(path: Path) -> Settings:
    """Read and validate params.yaml.

    Raises:
        InputError: the file is missing, too long, no YAML, or has a wrong key or value; the text names the first.
    """
    try:
        text = read_text(path, MOST_YAML)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `python cli.py profile demo` to write one") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; compare with profiles/demo.yaml") from error
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{path}{error}: not valid YAML; compare with profiles/demo.yaml") from error
    cohort = tree.get("cohort") if isinstance(tree, dict) else None
    if isinstance(cohort, dict) and not cohort.get("site_b"):
        raise InputError(f"{path}: cohort.site_b: names no folder, and DVC needs one; write {NO_SITE} where there is no second site")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        # A union's branches, such as tuple[str, ...], are no keys; what sections contradict each other in names its keys itself.
        key = ascii(".".join(str(part) for part in first["loc"] if not BRANCH.match(str(part)))[:LONGEST_KEY])[1:-1]
        key = f"{key}: " if key else "" if first["type"] == "value_error" else "file: "
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}{reason}{more}; compare with profiles/demo.yaml") from error


def digest(*parts: Any) -> str:
    """Sixteen hex digits that change whenever one of the parts does: sections, JSON-like values, and these within each other."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: object) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(part).__name__} has no digest")
