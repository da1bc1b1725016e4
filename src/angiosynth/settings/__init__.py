"""params.yaml as frozen, validated models. Each section is what one kind of stage depends on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from angiosynth.errors import InputError
from angiosynth.settings.audit import AuditSettings, ReleaseSettings
from angiosynth.settings.sections import Count, Dropout, Fraction, NonNegative, Positive, PositiveFloat, Rate, Section, SegmentationLoss
from angiosynth.settings.sweep import SweepSettings

Model = Literal["dcgan", "wgan-gp", "wgan-gp-sn"]
MODELS: tuple[Model, ...] = ("dcgan", "wgan-gp", "wgan-gp-sn")
TRAINING_DATA: tuple[str, ...] = ("real", *MODELS)
SITES: tuple[str, ...] = ("site-a", "site-b")


class ScannerSettings(Section):
    """One phantom site: how many patients and how its scanner draws them."""

    patients: Positive
    shape: tuple[Positive, Positive, Positive]
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    orientation: Literal["RAS", "LAS", "LPS", "RPS"] = "RAS"  # of the stored axes
    slabs: Positive = 2
    slab_step: Fraction = 0.12  # relative signal step where two slabs meet
    saturation: Fraction = 0.45  # share of the inflow signal lost along one slab in an artery of 1.1 mm radius
    vessel_contrast: PositiveFloat = 1.9  # fresh blood's signal above tissue, in tissue signals
    tissue_contrast: NonNegative = 1.0  # differences between tissues, relative to the usual ones
    noise: NonNegative = 0.075  # deviation of the Rician noise, in tissue signals
    blur_mm: NonNegative = 0.3  # deviation of the point spread
    bias: Fraction = 0.22  # relative depth of the coil sensitivity field


class PhantomSettings(Section):
    seed: Count = 1
    diseased: Fraction = 0.5  # share of patients with a stenosis or an occlusion
    site_a: ScannerSettings
    site_b: ScannerSettings


class SplitSettings(Section):
    """Numbers of patients, or explicit lists of their names."""

    train: Count | tuple[str, ...]
    validation: Count | tuple[str, ...]
    test: Count | tuple[str, ...]


class IntensitySettings(Section):
    """Percentiles inside the brain that become -1 and 1; `patch` is the published min-max of each patch."""

    rule: Literal["volume", "patch"] = "volume"
    low: Annotated[float, Field(ge=0, lt=100)] = 0.5
    high: Annotated[float, Field(gt=0, le=100)] = 99.9


NO_SITE = "data/none"  # DVC takes no empty path in dvc.yaml, so this empty folder stands there for "no second site"


class CohortSettings(Section):
    site_a: Annotated[str, Field(min_length=1)]
    site_b: str = ""
    seed: Count = 1
    split_a: SplitSettings
    split_b: SplitSettings
    intensity: IntensitySettings = IntensitySettings()

    @field_validator("site_b")
    @classmethod
    def _none_is_empty(cls, path: str) -> str:
        return "" if path.rstrip("/") == NO_SITE else path


class PatchSettings(Section):
    size: Positive = 64
    on_vessels: Count = 400  # patches a patient centred on a vessel voxel
    on_bright: Count = 300  # patches a patient centred on what a threshold would take for a vessel; 0 in the paper
    in_brain: Count = 300  # patches a patient centred on a brain voxel
    seed: Count = 1


class GanCommon(Section):
    width: Positive
    upsampling: Literal["resize", "transposed"] = "resize"
    sharpen: bool = True  # one more layer in the generator, at the patch's own resolution
    noise: bool = True  # maps of noise beside the latent vector, for the grain of the scan
    label_range: Literal["signed", "binary"] = "signed"  # binary: 0 and 1, cut at 0.8, as published
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995  # decay of the averaged generator, 0 for none
    decay: bool = True  # learning rates fall to nothing over the second half
    flip: bool = True  # mirror real pairs left-right at random
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_choice: Literal["probe_dsc", "last"] = "probe_dsc"
    probes: Positive = 3  # how often the probe looks, evenly over the training's second half
    checkpoint_every: Positive = 200  # steps between two resume files
    seed: Count = 1


class GanModel(Section):
    steps: Positive  # generator steps
    latent_size: Positive = 128
    batch_size: Positive = 32
    critic_iterations: Positive
    learning_rate_generator: Rate
    learning_rate_critic: Rate
    betas: tuple[Fraction, Fraction]


class DcganSettings(GanModel):
    real_target: tuple[NonNegative, NonNegative] = (0.7, 1.2)
    fake_target: tuple[NonNegative, NonNegative] = (0.0, 0.3)
    feature_matching_weight: NonNegative = 0.01
    minibatch_kernels: Positive = 100
    minibatch_dimensions: Positive = 5


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
    label_threshold: Annotated[float, Field(ge=-1, le=1)] = 0.0  # on the generator's own label range
    seed: Count = 1


class UnetSettings(Section):
    width: Positive = 32
    steps: Positive
    batch_size: Positive = 32
    learning_rate: Rate = 1e-3
    loss: SegmentationLoss = "dice"
    dropout: Dropout = 0.0
    augmentation: bool = True
    validations: Positive = 4  # how often whole validation volumes are scored, evenly over the steps
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Count = 1
    seeds: Positive = 1  # trainings on each data: with seed, seed + 1, and so on


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

    width: Positive = 8
    steps: Positive = 100
    batch_size: Positive = 32
    learning_rate: Rate = 2e-3
    loss: SegmentationLoss = "dice"
    pairs: Positive = 1000
    slice_stride: Positive = 2  # every n-th axial slice of the validation volumes
    seed: Count = 1


class EvaluationSettings(Section):
    bootstrap: Positive = 2000
    seed: Count = 1


class TransferSettings(Section):
    patients: tuple[Positive, ...]  # the numbers of site B's patients to train with
    subsets: Positive = 1  # random subsets of patients for each number, as many as there are patients at most
    steps: Positive  # of every start alike
    batch_size: Positive = 32
    learning_rate: Rate = 5e-4
    loss: SegmentationLoss = "dice"
    augmentation: bool = True
    validations: Positive = 3
    seed: Count = 1


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
    def _patch_size_fits_networks(self) -> Settings:
        size = self.patches.size
        while size % 2 == 0 and size > 4:
            size //= 2
        if size not in (3, 4) or self.patches.size < 16:
            raise ValueError(f"patches.size {self.patches.size} must be 3 or 4 times a power of two, at least 16, e.g. 64 or 96")
        return self

    @model_validator(mode="after")
    def _smoothing_keeps_its_order(self) -> Settings:
        (_, high), (low, _) = self.gan.dcgan.real_target, self.gan.dcgan.fake_target
        if self.sweep.real_target_low[1] > high:
            raise ValueError(f"sweep.real_target_low: reaches {self.sweep.real_target_low[1]}, above gan.dcgan.real_target's end {high}")
        if self.sweep.fake_target_high[0] < low:
            raise ValueError(f"sweep.fake_target_high: begins at {self.sweep.fake_target_high[0]}, below gan.dcgan.fake_target's {low}")
        return self


def load_settings(path: Path) -> Settings:
    """Read and validate params.yaml.

    Raises:
        InputError: the file is missing, not YAML, or has a wrong key or value; the text names the first.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `python cli.py profile demo` to write one") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; compare with profiles/demo.yaml") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{where}: not valid YAML; compare with profiles/demo.yaml") from error
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{path}: {key}: {first['msg']}{more}; compare with profiles/demo.yaml") from error


def digest(*parts: Any) -> str:
    """Sixteen hex digits that change whenever one of the parts does: sections, JSON-like values, and these within each other."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: object) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(part).__name__} has no digest")
