"""Section `generators` of params.yaml. The kind of each entry determines its settings, by the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from angiosynth.generators.base import GeneratorSettings, Kind
from angiosynth.generators.registry import KINDS, defaulted, known_settings, with_defaults
from angiosynth.settings.sections import NAME, NAME_RULE

REAL = "real"  # name of the real training data
RESERVED = frozenset({REAL, "threshold", "scratch", "package"})  # names used by tables and folders besides those of generators


def _of_its_kind(entry: Any) -> Any:
    return KINDS[entry["kind"]].settings.model_validate(entry) if isinstance(entry, dict) else entry


AnyGenerator = Annotated[GeneratorSettings, BeforeValidator(_of_its_kind)]


def filled_in(defaults: Any, entries: Mapping[Any, Any]) -> dict[Any, Any]:
    """Complete the entries with those defaults that their kinds have.

    Raises:
        ValueError: a name, a kind or a default is invalid; the message names its key.
    """
    for name, entry in entries.items():
        _check_entry(name, entry)
    if not isinstance(defaults, dict):
        return dict(entries)
    _check_defaults(defaults, {_kind_of(entry).name: _kind_of(entry) for entry in entries.values()})
    return {name: with_defaults(defaults, entry) if isinstance(entry, dict) else entry for name, entry in entries.items()}


def _check_entry(name: Any, entry: Any) -> None:
    shown = f"generators.{ascii(str(name))[1:-1]}"
    if not NAME.fullmatch(str(name)) or name in RESERVED:
        raise ValueError(f"{shown}: not a name for a generator; take {NAME_RULE}, and none of {', '.join(sorted(RESERVED))}")
    if not isinstance(name, str):
        raise ValueError(f"{shown}: not a name for a generator but a number; write it in quotes")
    if isinstance(entry, GeneratorSettings):
        return
    if not isinstance(entry, dict):
        raise ValueError(f"{shown}: Input should be a valid dictionary")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{shown}.kind: {f'{kind!a} is no kind' if 'kind' in entry else 'is missing'}; there are {', '.join(KINDS)}")


def _check_defaults(defaults: Mapping[Any, Any], used: Mapping[str, Kind]) -> None:
    """Check each default against all kinds in use with this setting, or else against the first registered kind with it."""
    for key, value in defaults.items():
        if key not in known_settings():
            raise ValueError(f"generator_defaults.{ascii(str(key))[1:-1]}: no kind of generator has such a setting")
        having = [kind for kind in used.values() if key in defaulted(kind)]
        for kind in having or [next(kind for kind in KINDS.values() if key in defaulted(kind))]:
            field = kind.settings.model_fields[key]
            annotation: Any = Annotated[field.annotation, field]
            try:
                TypeAdapter(annotation).validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, ("generator_defaults", key, *first["loc"])))
                raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error


def _kind_of(entry: Any) -> Kind:
    return KINDS[entry.kind if isinstance(entry, GeneratorSettings) else entry["kind"]]
