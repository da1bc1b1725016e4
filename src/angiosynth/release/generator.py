"""The generator of a released set, as a part of its package: safetensors and the settings that drawing depends on.

Whoever holds the weights can make attacks that the set alone does not allow, so they leave by a verdict of their own. What trained them
stays: the seed, by which somebody with all scans but one could repeat the training and compare; the critic; the weights of other steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings, Sampler
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.generators.storage import load_sampler
from angiosynth.release.promise import promise_fault
from angiosynth.release.weights import AGAIN, read_weights, write_weights
from angiosynth.runtime.output import read_json, write_json
from angiosynth.sections import Positive, Text

FOLDER, WEIGHTS, FACTS = "generator", "generator.safetensors", "generator.json"
# Required settings that no drawing depends on: networks are built from a whole section.
UNUSED: Mapping[str, Any] = {
    **dict.fromkeys(("steps", "width", "critic_iterations"), 1),
    **dict.fromkeys(("learning_rate_generator", "learning_rate_critic"), 1.0),
    "betas": (0.0, 0.9),
}


class GeneratorFacts(BaseModel):
    """generator.json of a package.

    Attributes:
        kind: of `registry.KINDS`.
        size: side of the patches.
        threshold: that cuts labels, None for the kind's own.
        settings: those that `Kind.drawn_with` names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Text
    size: Positive
    threshold: float | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class ShippedGenerator:
    """A package's generator, ready to draw on the CPU.

    Attributes:
        sampler: draws pairs; `pairs(count, seed, facts.threshold)` gives those of stage synthesize.
        facts: its generator.json.
    """

    sampler: Sampler
    facts: GeneratorFacts


@dataclass(frozen=True)
class TrainedSource:
    """A generator of the project.

    Attributes:
        folder: models/generators/<model>.
        settings: its entry in params.yaml.
    """

    folder: Path
    settings: GeneratorSettings


def generator_fault(audit: Mapping[str, Any], promise: Mapping[str, Any], digest: str) -> str:
    """Why a generator may not leave, "" where it may. No override helps.

    A promise of differential privacy covers the generator's file, which is computed from noisy votes alone; its audit has no attack on the
    generator. Without a promise the audit must have attacked these very weights, with the verdict "within".

    Args:
        audit: audit.json.
        promise: of the set's card, empty for kinds that promise nothing.
        digest: of the generator's weights as they are now.
    """
    verdicts, model = audit["verdicts"], audit.get("model", "MODEL")
    if verdicts["set"] != "within":
        return f"the audit's verdict on its set is {verdicts['set']!r}, not 'within': it stays, whatever --override says"
    if audit.get("generator_digest") != digest:
        return f"the audit is of other weights, or of an older version; run `dvc repro audit@{model}` first"
    if promise:
        return promise_fault(promise)
    verdict = verdicts.get("generator", "not audited")
    if verdict != "within":
        return f"the audit's verdict on who holds it is {verdict!r}, not 'within': leave out --with-generator, no --override helps"
    return ""


def write_generator(source: TrainedSource, package: Path, size: int, threshold: float | None) -> None:
    """Write generator/generator.safetensors and generator/generator.json into a package.

    Args:
        source: the generator.
        package: its folder.
        size: side of the set's patches.
        threshold: of section `synthesis`.

    Raises:
        InputError: the weights are damaged, or the kind does not say which settings drawing depends on.
    """
    kind = KINDS[source.settings.kind]
    if not kind.drawn_with:
        raise InputError(f"{source.folder}: kind {kind.name} names no settings in Kind.drawn_with, so nobody could draw from it")
    folder = package / FOLDER
    folder.mkdir()
    network = load_sampler(source.folder, source.settings, size).network
    write_weights(network.state_dict(), folder / WEIGHTS)
    values = source.settings.model_dump(mode="json")
    settings = {name: values[name] for name in kind.drawn_with}
    write_json(folder / FACTS, {"kind": kind.name, "size": size, "threshold": threshold, "settings": settings})


def read_generator(package: Path) -> ShippedGenerator | None:
    """The generator of a package, None where it has none.

    Raises:
        InputError: a file is damaged, or of another size or shape than the facts say.
    """
    folder = package / FOLDER
    if not folder.is_dir():
        return None
    facts, settings = _facts_of(folder / FACTS)
    family = family_of(settings)
    with torch.device("meta"):
        wanted = family.blank(settings, facts.size)["generator"]
    weights = read_weights(folder / WEIGHTS, wanted)
    sampler = family.sampler(settings, facts.size, weights, torch.device("cpu"))
    return ShippedGenerator(sampler, facts)


def _facts_of(path: Path) -> tuple[GeneratorFacts, GeneratorSettings]:
    """generator.json, and the section of settings that its kind has."""
    try:
        facts = GeneratorFacts.model_validate(read_json(path))
        kind = KINDS[facts.kind]
        if facts.settings.keys() != set(kind.drawn_with):
            raise ValueError("other settings than its kind has")
        fields = kind.settings.model_fields
        unused = {name: UNUSED[name] for name in fields if name in UNUSED and fields[name].is_required()}
        return facts, kind.settings.model_validate({"kind": kind.name, **unused, **facts.settings})
    except (ValidationError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged, or of a newer version; {AGAIN}") from error
