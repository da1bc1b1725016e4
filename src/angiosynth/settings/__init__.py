"""params.yaml as frozen, validated models, one model per section."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, model_validator

from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import KINDS
from angiosynth.reading import read_text
from angiosynth.sections import Section, Threads
from angiosynth.settings.audit import AuditSettings, ReleaseSettings
from angiosynth.settings.checks import faults
from angiosynth.settings.generators import REAL, AnyGenerator, filled_in
from angiosynth.settings.phantom import PhantomSettings, ScannerSettings
from angiosynth.settings.sections import (
    CohortSettings,
    EvaluationSettings,
    IntensitySettings,
    LabelSource,
    PatchSettings,
    ProbeSettings,
    SelectionSettings,
    SiteSettings,
    SplitSettings,
    SynthesisSettings,
    TransferSettings,
    UnetSettings,
    WorthSettings,
)
from angiosynth.settings.sweep import SweepSettings
from angiosynth.settings.yaml_text import MOST_YAML, parse_yaml

__all__ = [
    "REAL",
    "AuditSettings",
    "CohortSettings",
    "EvaluationSettings",
    "IntensitySettings",
    "LabelSource",
    "PatchSettings",
    "PhantomSettings",
    "ProbeSettings",
    "ReleaseSettings",
    "ScannerSettings",
    "SelectionSettings",
    "Settings",
    "SiteSettings",
    "SplitSettings",
    "SweepSettings",
    "SynthesisSettings",
    "TransferSettings",
    "UnetSettings",
    "WorthSettings",
    "digest",
    "load_settings",
]

LONGEST_KEY = 100  # characters of a key in a message
BRANCH = re.compile(r"(function-|constrained-|tuple\[)")  # elements of an error's location that denote a branch of a union


class Settings(Section):
    """All sections of params.yaml."""

    threads: Threads
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
    worth: WorthSettings = WorthSettings()
    audit: AuditSettings
    release: ReleaseSettings
    sweep: SweepSettings

    @model_validator(mode="before")
    @classmethod
    def _defaults_are_filled_in(cls, tree: Any) -> Any:
        """Complete the entries of generators with the values of `generator_defaults` that their kinds have."""
        if not isinstance(tree, dict) or not isinstance(tree.get("generators"), dict):
            return tree
        return tree | {"generators": filled_in(tree.get("generator_defaults", {}), tree["generators"])}

    @property
    def training_data(self) -> tuple[str, ...]:
        """Names of the training sets of U-nets: real patches, and the set of each generator."""
        return (REAL, *self.generators)

    def generator(self, name: str) -> GeneratorSettings:
        """Return the settings of a generator by its name.

        Raises:
            InputError: no generator has this name.
        """
        if name not in self.generators:
            raise InputError(f"{name}: no such generator; params.yaml, section generators, has {', '.join(self.generators)}")
        return self.generators[name]

    def labelled_by_unet(self, name: str) -> bool:
        """Return whether U-nets on real patches label the set of a generator, by `synthesis.labels`; a simulator keeps its own labels.

        Raises:
            InputError: no generator has this name.
        """
        return self.synthesis.labels == "unet" and KINDS[self.generator(name).kind].trains_network

    @model_validator(mode="after")
    def _sections_agree(self) -> Settings:
        if contradictions := list(faults(self)):
            raise ValueError(contradictions[0] + (f" (and {len(contradictions) - 1} more)" if len(contradictions) > 1 else ""))
        return self


def load_settings(path: Path) -> Settings:
    """Read and validate params.yaml.

    Raises:
        InputError: the file is missing, too long, not YAML, or has an invalid key or value; the message names the first.
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
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        # Branches of a union, such as tuple[str, ...], are not keys. The message of a contradiction between sections contains its keys.
        key = ascii(".".join(str(item) for item in first["loc"] if not BRANCH.match(str(item)))[:LONGEST_KEY])[1:-1]
        key = f"{key}: " if key else "" if first["type"] == "value_error" else "file: "
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}{reason}{more}; compare with profiles/demo.yaml") from error


def digest(*values: Any) -> str:
    """Return the digest of sections and JSON-like values, which may be nested; sixteen hex digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} has no digest")
