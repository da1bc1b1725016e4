"""Registry of the kinds of generator that params.yaml can name. A new kind is a folder (or a file) next to `gan/` and one line here.

The settings import this module at every start, so it must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from angiosynth.generators.base import Family, GeneratorSettings, Kind
from angiosynth.generators.flow import kinds as flow
from angiosynth.generators.gan import kinds as gan
from angiosynth.generators.private_evolution import kinds as private_evolution

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*gan.KINDS, *flow.KINDS, *private_evolution.KINDS)}
"""Kinds of generators, by the value of `kind` in params.yaml."""

# The generator that the audit overfits on purpose, to test whether its attacks detect memorisation. It is the same for every audited kind.
CONTROL = gan.memoriser


def family_of(settings: GeneratorSettings) -> Family:
    """Return the module that trains a generator of these settings and draws from it."""
    return cast(Family, import_module(KINDS[settings.kind].family))


def title_of(name: str) -> str:
    """Display name of a generator: the title of its kind if it is named like the kind, else its name."""
    return KINDS[name].title if name in KINDS else name


def with_defaults(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `generators`, completed with those values of `generator_defaults` that its kind has."""
    fields = defaulted(KINDS[entry["kind"]])
    return {name: value for name, value in defaults.items() if name in fields} | dict(entry)


def defaulted(kind: Kind) -> set[str]:
    """Return the settings of a kind that `generator_defaults` may fill in."""
    return set(kind.settings.model_fields) - kind.undefaulted


def known_settings() -> set[str]:
    """Return all settings of all kinds, except `kind`."""
    return {name for kind in KINDS.values() for name in kind.settings.model_fields} - {"kind"}
