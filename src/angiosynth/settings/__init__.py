"""params.yaml as frozen, validated models. Each section is what one kind of stage depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, field_serializer, field_validator, model_validator

from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import KINDS, AnyGenerator, known_settings, with_defaults
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
from angiosynth.settings.audit import AuditSettings, ReleaseSettings
from angiosynth.settings.checks import faults
from angiosynth.settings.phantom import PhantomSettings
from angiosynth.settings.phantom import ScannerSettings as ScannerSettings
from angiosynth.settings.sweep import SweepSettings

REAL = "real"  # the training data that no generator made
RESERVED = frozenset({REAL, "threshold", "scratch", "package"})  # what stands beside generators' names in tables and folders
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")  # of a generator: a folder, a stage of DVC, a key in MLflow
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
    """The small U-net that scores a generator's checkpoint on validation patients."""

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


BRANCH = re.compile(r"(function-|constrained-|tuple\[)")  # in the place of an error that lies in a union


class Settings(Section):
    """All of params.yaml."""

    phantom: PhantomSettings
    cohort: CohortSettings
    patches: PatchSettings
    generator_defaults: dict[str, Any] = Field(default_factory=dict)
    generators: Annotated[dict[str, SerializeAsAny[AnyGenerator]], Field(min_length=1)]
    probe: ProbeSettings
    synthesis: SynthesisSettings
    unet: UnetSettings
    selection: SelectionSettings = SelectionSettings()
    evaluation: EvaluationSettings
    transfer: TransferSettings
    audit: AuditSettings
    release: ReleaseSettings
    sweep: SweepSettings

    @model_validator(mode="before")
    @classmethod
    def _defaults_are_filled_in(cls, tree: Any) -> Any:
        """Each generator has its own values and, where it gives none, those of `generator_defaults` that its kind has."""
        if not isinstance(tree, dict) or not isinstance(tree.get("generators"), dict):
            return tree
        defaults = tree.get("generator_defaults") or {}
        if isinstance(defaults, dict) and (unknown := sorted(set(map(str, defaults)) - known_settings())):
            raise ValueError(f"generator_defaults.{unknown[0]}: no kind of generator has such a setting")
        filled = {name: _filled_in(str(name), defaults, own) for name, own in tree["generators"].items()}
        return tree | {"generators": filled}

    @property
    def training_data(self) -> tuple[str, ...]:
        """What U-nets are trained on: real patches, and the set of each generator."""
        return (REAL, *self.generators)

    def generator(self, name: str) -> GeneratorSettings:
        """A generator's settings by its name.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.generators:
            raise InputError(f"{name}: no such generator; params.yaml, section generators, has {', '.join(self.generators)}")
        return self.generators[name]

    @model_validator(mode="after")
    def _sections_agree(self) -> Settings:
        if found := list(faults(self)):
            raise ValueError(found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))
        return self


def _filled_in(name: str, defaults: Any, own: Any) -> Any:
    if not NAME.fullmatch(name) or name in RESERVED:
        rule = "lower-case letters, digits and hyphens, at most 40, and none of " + ", ".join(sorted(RESERVED))
        raise ValueError(f"generators.{ascii(name)[1:-1]}: not a name for a generator; take {rule}")
    if isinstance(own, GeneratorSettings) or not isinstance(own, dict) or not isinstance(defaults, dict):
        return own
    if own.get("kind") not in KINDS:
        kind = f"{own['kind']!a} is no kind" if "kind" in own else "is missing"
        raise ValueError(f"generators.{name}.kind: {kind}; there are {', '.join(KINDS)}")
    return with_defaults(defaults, own)


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
    cohort = tree.get("cohort") if isinstance(tree, dict) else None
    if isinstance(cohort, dict) and not cohort.get("site_b"):
        raise InputError(f"{path}: cohort.site_b: names no folder, and DVC needs one; write {NO_SITE} where there is no second site")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        # A union's branches, such as tuple[str, ...], are no keys; what sections contradict each other in names its keys itself.
        key = ascii(".".join(str(part) for part in _written(first["loc"], tree) if not BRANCH.match(str(part))))[1:-1]
        key = f"{key}: " if key else "" if first["type"] == "value_error" else "file: "
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}{reason}{more}; compare with profiles/demo.yaml") from error


def _written(place: tuple[int | str, ...], tree: Any) -> tuple[int | str, ...]:
    """Where params.yaml has a value: without the kind that pydantic puts in, and among the defaults where it is from there."""
    if place[:1] != ("generators",) or len(place) < 4:
        return place
    _, name, _, key, *rest = place
    own = tree["generators"][name]
    return (
        ("generators", name, key, *rest)
        if key in own or key not in (tree.get("generator_defaults") or {})
        else ("generator_defaults", key, *rest)
    )


def digest(*parts: Any) -> str:
    """Sixteen hex digits that change whenever one of the parts does: sections, JSON-like values, and these within each other."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: object) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(part).__name__} has no digest")
