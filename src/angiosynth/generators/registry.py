"""The kinds of generator that params.yaml can name. A new kind is a folder (or a file) beside `gan/` and one line here.

This module is imported with the settings at every start: it brings no torch.
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
"""The kinds of generators, by the value of `kind` in params.yaml."""

# The generator that the audit overfits on purpose, to see whether its attacks detect that: the same whatever kind is audited.
CONTROL = gan.memoriser


def family_of(settings: GeneratorSettings) -> Family:
    """The functions that train a generator of these settings and draw from it."""
    return cast(Family, import_module(KINDS[settings.kind].family))


def title_of(name: str) -> str:
    """A generator's display name: the title of its kind where it has the kind's name."""
    return KINDS[name].title if name in KINDS else name


def with_defaults(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `generators`, its missing settings filled from `generator_defaults` as far as its kind has them."""
    fields = defaulted(KINDS[entry["kind"]])
    return {name: value for name, value in defaults.items() if name in fields} | dict(entry)


def defaulted(kind: Kind) -> set[str]:
    """The settings of a kind that `generator_defaults` fills in."""
    return set(kind.settings.model_fields) - kind.undefaulted


def known_settings() -> set[str]:
    """Every setting that some kind has, but its kind."""
    return {name for kind in KINDS.values() for name in kind.settings.model_fields} - {"kind"}
