"""Search space of a generator, settings of one trial, and the values that all trials of a study must share."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from angiosynth.errors import InputError
from angiosynth.generators.base import Searched
from angiosynth.generators.registry import KINDS
from angiosynth.search.results import Value
from angiosynth.settings import Settings, digest
from angiosynth.settings.checks import placed
from angiosynth.tracking.run import DataSource

SIGNIFICANT = 4  # significant digits of proposed values
OF_EVERY_STUDY = frozenset({"model", "settings", "search_space", "data"})  # attributes of every study of this program


def search_space(settings: Settings, model: str) -> dict[str, Searched]:
    """Return the searched values of a generator by name: those of its kind, with ranges of section `sweep` if given.

    Raises:
        InputError: the generator is unknown, or its kind cannot be searched.
    """
    kind = KINDS[settings.generator(model).kind]
    if kind.unsearched:
        raise InputError(f"generators.{model}: {kind.unsearched}")
    search = kind.search
    return {name: replace(searched, values=tuple(settings.sweep.ranges.get(name, searched.values))) for name, searched in search.items()}


def model_values(settings: Settings, model: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Convert proposed values to settings of the generator's entry, rounded to SIGNIFICANT digits."""
    generator = settings.generator(model)
    search = KINDS[generator.kind].search
    changed: dict[str, Any] = {}
    for name, value in values.items():
        rounded = float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value
        changed |= placed(generator, search[name], name, rounded) if name in search else {name: rounded}
    return changed


def trial_settings(settings: Settings, model: str, values: Mapping[str, Value]) -> Settings:
    """Make settings of one trial: the generator with the proposed values, and the sizes of training, set and U-net from section `sweep`.

    All seeds are those of params.yaml, so that trials differ only by their values. `reseeded` gives the repetitions with other seeds.
    """
    tree = settings.model_dump(by_alias=True)
    tree["generators"][model] |= model_values(settings, model, values)
    if KINDS[settings.generator(model).kind].trains_network:
        tree["generators"][model]["steps"] = settings.sweep.generator_steps
    tree["generators"][model]["checkpoint_choice"] = "last"  # no probes, since the final U-net gives the score
    tree["synthesis"]["pairs"] = settings.sweep.pairs
    tree["unet"]["steps"] = settings.sweep.unet_steps
    return Settings.model_validate(tree)


def reseeded(settings: Settings, model: str, shift: int) -> Settings:
    """Return settings of a trial with the seeds of generator, set and U-net increased by `shift`; patients and patches stay the same."""
    tree = settings.model_dump(by_alias=True)
    for section in (tree["generators"][model], tree["synthesis"], tree["unet"]):
        section["seed"] += shift
    return Settings.model_validate(tree)


def study_facts(settings: Settings, model: str, data: DataSource | None, basis: Mapping[str, str]) -> dict[str, str]:
    """Return the values on which scores depend besides the proposed ones. A study can only be continued with equal values."""
    space = search_space(settings, model)
    fixed = trial_settings(settings, model, {})
    generator = fixed.generator(model).model_dump(mode="json", exclude=set(space))
    sections = (fixed.phantom, fixed.cohort, fixed.patches, generator, fixed.probe, fixed.synthesis, fixed.unet)
    ranges = json.dumps({name: list(dimension.values) for name, dimension in space.items()}, sort_keys=True)
    kept = {"model": model, "settings": digest(*sections), "search_space": ranges, "data": data.digest if data else ""}
    return {**kept, "seeds": str(settings.sweep.seeds), **basis}


def refuse_others(name: str, known: Mapping[str, Any], facts: Mapping[str, str], tried: Collection[str] = ()) -> None:
    """Check that an existing study was made by this program and depends on the same values.

    Args:
        name: name of the study.
        known: attributes of the study.
        facts: result of `study_facts`; {} only checks that this program made the study.
        tried: names of the values in its trials.

    Raises:
        InputError: another program made the study, or this program with other values or, in an earlier version, fewer values.
    """
    if not known.keys() >= OF_EVERY_STUDY:
        raise InputError(f"study {name}: another program made it, nothing in it was touched; give the new study another name with --study")
    if strange := set(tried) - json.loads(known["search_space"]).keys():
        raise InputError(
            f"study {name}: another program put trials into it, of {', '.join(sorted(strange))}; give the new study another name"
        )
    for key, value in facts.items():
        if known.get(key) != value:
            fact, before = key.replace("_", " "), known.get(key, "not kept then")
            raise InputError(f"study {name}: made with other {fact} ({before}, now {value}); give the new study another name with --study")


def proposal(trial: Any, space: Mapping[str, Searched]) -> dict[str, Value]:
    """Ask an Optuna trial for values of the search space."""
    ask: dict[str, Callable[[str, tuple[Any, ...]], Value]] = {
        "whole": lambda name, ends: trial.suggest_int(name, *ends),
        "log": lambda name, ends: trial.suggest_float(name, *ends, log=True),
        "linear": lambda name, ends: trial.suggest_float(name, *ends),
        "choice": lambda name, choices: str(trial.suggest_categorical(name, choices)),
    }
    return {name: ask[dimension.scale](name, dimension.values) for name, dimension in space.items()}
