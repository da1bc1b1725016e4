"""Changing params.yaml in place: comments, order and spaces stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file
from angiosynth.settings import load_settings


def change_settings(path: Path, section: tuple[str, ...], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Write values into one section of a settings file, every other character as it was; gives (key, text before, text now).

    Raises:
        InputError: the file is missing or wrong, or would be wrong with these values.
    """
    load_settings(path)
    text = path.read_text(encoding="utf-8")
    changes = []
    for key, value in values.items():
        node: Any = yaml.compose(text)  # anew for each, as places move
        for name in section:
            node = _under(node, name)[1]
        now = json.dumps(value) if isinstance(value, (list, tuple)) else _number(value)
        known = _under(node, key)[1]
        if known is not None:
            start, end, written = known.start_mark.index, known.end_mark.index, now
        else:
            start = end = node.value[0][0].start_mark.index
            written = f"{key}: {now}" + (", " if node.flow_style else "\n" + " " * node.value[0][0].start_mark.column)
        changes.append((key, text[start:end] or "(default)", now))
        text = text[:start] + written + text[end:]
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        try:
            load_settings(temporary)
        except InputError as error:
            raise InputError(f"{path}: left as it was: {str(error).removeprefix(f'{temporary}: ')}") from error
    return changes


def _under(node: Any, name: str) -> tuple[Any, Any]:
    """The key's and the value's node of a mapping, None for both where there is no such key."""
    return next(((key, value) for key, value in node.value if key.value == name), (None, None))


def _number(value: Any) -> str:
    """Never 5e-05, which YAML 1.1 takes for a text."""
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)
