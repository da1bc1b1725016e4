"""Find contradictions between sections of params.yaml, most of which would cause an error only after hours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from angiosynth.generators.base import GeneratorSettings, Searched
from angiosynth.generators.registry import KINDS

if TYPE_CHECKING:
    from angiosynth.settings import Settings, SplitSettings

MULTIPLE = 16  # the U-net halves the sides of a patch four times
LARGEST_PATCH = 1024
LEAST_COMPARED = 12  # patches; the audit searches six neighbours in halves of them
NEEDED_FOR = {
    "train": "the networks learn from it",
    "validation": "it chooses checkpoints and weights, and the audit compares with it",
    "test": "scores and the audit need somebody who was not trained on",
}
PHANTOM = "data/phantom/"


def faults(settings: Settings) -> Iterator[str]:
    """Yield contradictions between sections, one line each, which names the keys."""
    yield from _patch_size(settings.patches.size)
    patches = settings.patches
    if patches.on_vessels + patches.on_bright + patches.in_brain < 2:
        yield "patches: on_vessels, on_bright and in_brain are 0 together; at least two patches a patient are cut"
    yield from _split(settings)
    yield from _drawn(settings)
    yield from _validations(settings)
    yield from _ranges(settings)
    few = {"synthesis.pairs": settings.synthesis.pairs, "sweep.pairs": settings.sweep.pairs, "audit.compared": settings.audit.compared}
    for key, count in few.items():
        if count < LEAST_COMPARED:
            yield f"{key}: {count} are too few, the audit asks halves of them for six neighbours; give it at least {LEAST_COMPARED}"


def _patch_size(size: int) -> Iterator[str]:
    """Check the patch size: generators repeatedly double a map of side 3 or 4, the U-net halves the sides four times."""
    base = size
    while base % 2 == 0 and base > 4:
        base //= 2
    if base not in (3, 4) or size % MULTIPLE or size > LARGEST_PATCH:
        sizes = "16, 32, 48, 64, 96, 128, 192 or 256"
        yield f"patches.size {size} fits no generator (3 or 4 times a power of two) or not the U-net (a multiple of 16); take {sizes}"


def _split(settings: Settings) -> Iterator[str]:
    cohort = settings.cohort
    for part, why in NEEDED_FOR.items():
        if not _count(cohort.of_source.split, part):
            yield f"cohort.sites.{cohort.source}.split.{part}: names no patient, but {why}; give it at least 1"
    yield from _voters(settings)
    folders: dict[str, str] = {}
    for name, site in cohort.sites.items():
        twin = folders.setdefault(os.path.realpath(site.path), name)
        if twin != name:
            yield f"cohort.sites.{name}.path: is the folder of {twin}, {site.path}, but sites must not share patients"
    for name in cohort.targets:
        for part in ("train", "test"):
            if not _count(cohort.sites[name].split, part):
                yield f"cohort.sites.{name}.split.{part}: names no patient, but the transfer to {name} needs one; or take the site out"


def _voters(settings: Settings) -> Iterator[str]:
    """Check that whoever is to vote has something to vote for."""
    source, asked = settings.cohort.source, any(KINDS[generator.kind].votes for generator in settings.generators.values())
    for name, site in settings.cohort.sites.items():
        if _count(site.split, "voters") and not (asked and name == source):
            kinds = " or ".join(kind.name for kind in KINDS.values() if kind.votes)
            yield f"cohort.sites.{name}.split.voters: vote for nothing without a generator of kind {kinds}, which asks those of {source}"


def _drawn(settings: Settings) -> Iterator[str]:
    """Check that the phantom's sites have enough patients and large enough slices, before minutes are spent on drawing them."""
    drawn = settings.phantom.sites
    for name, site in settings.cohort.sites.items():
        if not site.path.startswith(PHANTOM):
            continue
        scanner = drawn.get(site.path.removeprefix(PHANTOM).rstrip("/"))
        if scanner is None:
            yield f"cohort.sites.{name}.path: {site.path} is none of the phantom's sites; phantom.sites has {', '.join(drawn) or 'none'}"
            continue
        wanted, more = (sum(_count(site.split, part) for part in parts) for parts in (NEEDED_FOR, ("held_out", "voters")))
        section = f"phantom.sites.{site.path.removeprefix(PHANTOM).rstrip('/')}"
        if wanted > scanner.patients:
            yield f"cohort.sites.{name}.split: {wanted} patients, but {section}.patients draws {scanner.patients}; lower the split"
        elif wanted + more > scanner.patients + scanner.unlabelled:
            yield f"cohort.sites.{name}.split: {more} held out or voters, but {section} draws too few; raise its unlabelled ones"
        if min(scanner.shape[:2]) < settings.patches.size:
            yield f"{section}.shape: slices of {scanner.shape[:2]} hold no patch of {settings.patches.size}; lower patches.size"


def _validations(settings: Settings) -> Iterator[str]:
    """Check that no training is validated more often than it has steps."""
    for key, steps, validations in (
        ("unet.steps", settings.unet.steps, settings.unet.validations),
        ("transfer.steps", settings.transfer.steps, settings.transfer.validations),
        ("sweep.unet_steps", settings.sweep.unet_steps, settings.unet.validations),
    ):
        if validations > steps:
            section = "transfer" if key.startswith("transfer") else "unet"
            yield f"{section}.validations: {validations} do not fit into {key} {steps}; lower it"


def _ranges(settings: Settings) -> Iterator[str]:
    """Check that all values of the searched ranges are valid settings of the generators."""
    for name, generator in settings.generators.items():
        for key, searched in KINDS[generator.kind].search.items():
            for value in settings.sweep.ranges.get(key, ()):
                try:
                    type(generator).model_validate(generator.model_dump() | placed(generator, searched, key, value))
                except ValidationError as error:
                    reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                    yield f"sweep.ranges.{key}: {value} is nothing for generators.{name}: {reason}"


def placed(generator: GeneratorSettings, searched: Searched, name: str, value: Any) -> dict[str, Any]:
    """Convert a searched value to a setting: the value, or a pair in which it replaces one element."""
    if searched.end is None:
        return {name: value}
    pair = list(getattr(generator, searched.key))
    pair[searched.end] = value
    return {searched.key: pair}


def _count(split: SplitSettings, part: str) -> int:
    value: int | tuple[str, ...] = getattr(split, part)
    return value if isinstance(value, int) else len(value)
