"""Changing params.yaml: values in place, where comments, order and spaces stay, or whole by a profile."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from decimal import Decimal
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from angiosynth.errors import InputError
from angiosynth.reading import read_bytes, read_text
from angiosynth.runtime.output import followed, whole_file
from angiosynth.settings import load_settings
from angiosynth.settings.yaml_text import MOST_YAML


def change_settings(path: Path, section: tuple[str, ...], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Write values into one section of a settings file, every other character as it was; gives (key, text before, text now).

    Raises:
        InputError: the file is missing or wrong, or would be wrong with these values.
    """
    path = followed(path)
    load_settings(path)
    text = read_text(path, MOST_YAML)
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
    with whole_file(path, as_before=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
        try:
            load_settings(temporary)
        except InputError as error:
            raise InputError(f"{path}: left as it was: {str(error).removeprefix(f'{temporary}: ')}") from error
    return changes


def take_profile(params: Path, profiles: Path, name: str, force: bool) -> str:
    """Make the settings file a profile's, word for word.

    Args:
        params: the settings file.
        profiles: the folder of profiles, NAME.yaml.
        name: of the profile.
        force: replace settings that are no profile's too; they are kept beside, as params.yaml.bak.

    Returns:
        A line where something was kept, else "".

    Raises:
        InputError: there is no such profile, it is wrong, or the settings were edited and `force` is not given.
    """
    known = {path.stem: path for path in sorted(profiles.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"{profiles / name}.yaml: no such profile; there are {', '.join(known) or 'none in this folder'}")
    load_settings(known[name])
    wanted = read_bytes(known[name], MOST_YAML)
    there = read_bytes(params, MOST_YAML) if params.exists() else None
    if there is not None and _plain(there) == _plain(wanted):
        return ""  # nothing to write: in a container the file may be read-only
    said = ""
    if there is not None and _plain(there) not in {_plain(read_bytes(path, MOST_YAML)) for path in known.values()}:
        if not force:
            raise InputError(
                f"{params}: has settings of your own, no profile's, and is left as it is; `dvc repro` runs them, "
                f"`python cli.py profile {name} --force` replaces them and keeps them as {params}.bak"
            )
        kept = _free_name(Path(f"{params}.bak"))
        with whole_file(kept) as temporary:
            temporary.write_bytes(there)
        said = f"{params}: is profile {name} now; what it held is kept as {kept}"
    with whole_file(followed(params), as_before=True) as temporary:
        temporary.write_bytes(wanted)
    return said


def _plain(text: bytes) -> bytes:
    """Without the line ends of an editor or of git on another system."""
    return text.replace(b"\r\n", b"\n").rstrip()


def _free_name(path: Path) -> Path:
    """The path, or with -2, -3, ... the first that is not there."""
    numbered = (Path(f"{path}-{number}") for number in count(2))
    return next(other for other in chain([path], numbered) if not os.path.lexists(other))


def _under(node: Any, name: str) -> tuple[Any, Any]:
    """The key's and the value's node of a mapping, None for both where there is no such key."""
    return next(((key, value) for key, value in node.value if key.value == name), (None, None))


def _number(value: Any) -> str:
    """Never 5e-05, which YAML 1.1 takes for a text."""
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)
