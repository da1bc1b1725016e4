"""The generator of a released set inside its package: safetensors, and the settings on which drawing depends.

The weights allow attacks that the set alone does not, so their release needs a separate verdict. Everything else about the training is kept
back: the seed, with which someone who has all scans but one could repeat the training and compare; the critic; weights of other steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from angiosynth.errors import InputError
from angiosynth.generators.base import PROMISE, GeneratorSettings, Sampler
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.generators.storage import load_sampler
from angiosynth.generators.synthesis import labelled_by_unet
from angiosynth.release.promise import promise_fault
from angiosynth.release.weights import AGAIN, read_weights, write_weights
from angiosynth.runtime.output import read_json, write_json
from angiosynth.sections import Positive, Text

FOLDER, WEIGHTS, FACTS = "generator", "generator.safetensors", "generator.json"
# Values for required settings that do not affect drawing, because networks are built from a complete section.
UNUSED: Mapping[str, Any] = {
    **dict.fromkeys(("steps", "width", "critic_iterations"), 1),
    **dict.fromkeys(("learning_rate_generator", "learning_rate_critic"), 1.0),
    "betas": (0.0, 0.9),
}


class GeneratorFacts(BaseModel):
    """generator.json of a package.

    Attributes:
        kind: key of `registry.KINDS`.
        size: side of the patches in pixels.
        threshold: threshold of labels; None is the default of the kind.
        settings: the settings named by `Kind.drawn_with`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Text
    size: Positive
    threshold: float | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class ShippedGenerator:
    """The generator of a package, on the CPU.

    Attributes:
        sampler: draws pairs; `pairs(count, seed, facts.threshold)` gives the pairs that stage synthesize draws.
        facts: content of generator.json.
    """

    sampler: Sampler
    facts: GeneratorFacts


@dataclass(frozen=True)
class TrainedSource:
    """A trained generator of the project.

    Attributes:
        folder: models/generators/<model>.
        settings: entry of the generator in params.yaml.
    """

    folder: Path
    settings: GeneratorSettings


def generator_fault(audit: Mapping[str, Any], card: Mapping[str, Any], digest: str) -> str:
    """Reason why a generator may not be released; "" if it may. There is no override.

    A guarantee of differential privacy covers the file of the generator, which is computed only from noisy votes; the audit has no attack
    on such a generator. Without a guarantee the audit must have attacked exactly these weights, with the verdict "within", and must have
    searched the label maps that the generator draws, which are not in a set that U-nets labelled.

    Args:
        audit: content of audit.json.
        card: card of the set, with the privacy guarantee of kinds that have one.
        digest: digest of the current weights of the generator.
    """
    verdicts, model = audit["verdicts"], audit.get("model", "MODEL")
    if verdicts["set"] != "within":
        return f"the audit's verdict on its set is {verdicts['set']!r}, not 'within': it stays, whatever --override says"
    if audit.get("generator_digest") != digest:
        return f"the audit is of other weights, or of an older version; run `dvc repro audit@{model}` first"
    if promise := card.get(PROMISE):
        return promise_fault(promise)
    verdict = verdicts.get("generator", "not audited")
    if verdict != "within":
        return f"the audit's verdict on who holds it is {verdict!r}, not 'within': leave out --with-generator, no --override helps"
    if labelled_by_unet(card) and not audit["settings"].get("drawn_labels"):
        cure = f"set audit.drawn_labels: true in params.yaml and run `dvc repro audit@{model}`"
        return f"U-nets labelled its set, so the audit has not seen the label maps that it draws itself; {cure}"
    return ""


def write_generator(source: TrainedSource, package: Path, size: int, threshold: float | None) -> None:
    """Write generator/generator.safetensors and generator/generator.json into a package.

    Args:
        source: the generator.
        package: folder of the package.
        size: side of the patches in pixels.
        threshold: label threshold of section `synthesis`.

    Raises:
        InputError: the weights are damaged, or the kind does not state on which settings drawing depends.
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
    """Read the generator of a package; None if it has none.

    Raises:
        InputError: a file is damaged, or its size or shapes do not match generator.json.
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
    """Read generator.json and build the settings of its kind."""
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
