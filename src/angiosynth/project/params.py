"""Change params.yaml: single values, preserving comments, order and layout, or the whole file by a profile."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import SequenceMatcher
from itertools import chain, count
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from angiosynth.errors import InputError
from angiosynth.reading import read_bytes
from angiosynth.runtime.output import followed, whole_file
from angiosynth.settings import load_settings
from angiosynth.settings.yaml_text import MOST_YAML

WIDEST = 10_000_000  # maximum line length, so that no line is wrapped


def change_settings(path: Path, section: Sequence[str], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Write values into one section of a settings file, preserving comments, order and layout.

    All other lines stay byte for byte; in changed lines ruamel.yaml normalises spaces. If the number of lines changes (multi-line texts or
    lists), ruamel.yaml formats the whole file.

    Args:
        path: the settings file.
        section: keys of the section, such as ("generators", NAME).
        values: numbers, texts, booleans, or lists of these.

    Returns:
        (key, old value, new value) for each value, as texts; "(default)" for a key that the section did not have.

    Raises:
        InputError: the file is missing or invalid, or would be invalid with these values; the file is not changed.
    """
    path = followed(path)
    load_settings(path)
    text = read_bytes(path, MOST_YAML).decode("utf-8")
    changes, changed = _with_values(path, text, section, values)
    with whole_file(path, as_before=True) as temporary:
        temporary.write_bytes(changed.encode("utf-8"))
        try:
            load_settings(temporary)
        except InputError as error:
            raise InputError(f"{path}: left as it was: {str(error).removeprefix(f'{temporary}: ')}") from error
    return changes


def _with_values(path: Path, text: str, section: Sequence[str], values: Mapping[str, Any]) -> tuple[list[tuple[str, str, str]], str]:
    """List of changes, and the changed text."""
    try:
        explicit_start = text.removeprefix("\ufeff").startswith("---")
        tree = _round_trip().load(text.replace("\r\n", "\n"))
        plain = _dumped(tree, explicit_start)
        mapping = _section(path, tree, section)
        changes = [(key, _written(mapping[key]) if key in mapping else "(default)", _written(values[key])) for key in values]
        for key, value in values.items():
            _put(mapping, key, value)
        return changes, _merged(text, plain, _dumped(tree, explicit_start))
    except (YAMLError, NotImplementedError) as error:  # the round-trip parser accepts less than the safe one
        raise InputError(f"{path}: cannot be changed in place; write the values by hand: {dict(values)}") from error


def _round_trip() -> YAML:
    """Round-trip parser and writer of ruamel.yaml, which preserves comments, quotes and flow style."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = WIDEST
    return yaml


class _Representer(RoundTripRepresenter):
    """Writes floats as decimals instead of 5e-05, which is a text in YAML 1.1."""


_Representer.add_representer(float, lambda representer, value: representer.represent_scalar("tag:yaml.org,2002:float", _written(value)))


def _dumped(tree: Any, explicit_start: bool) -> str:
    stream = io.StringIO()
    yaml = _round_trip()
    yaml.explicit_start = explicit_start
    yaml.dump(tree, stream)
    return stream.getvalue()


def _section(path: Path, tree: Any, section: Sequence[str]) -> CommentedMap:
    """The mapping of a section. Raises InputError if it is missing, or shared through an anchor."""
    mapping: CommentedMap = tree
    for depth, name in enumerate(section, 1):
        mapping = mapping.get(name)
        title = ".".join(section[:depth])
        if not isinstance(mapping, CommentedMap):
            raise InputError(f"{path}: has no section {title}; write one")
        if mapping.anchor.value is not None:
            raise InputError(f"{path}: {title}: is shared by an anchor (&{mapping.anchor.value}), others would change too; write it out")
    return mapping


def _put(mapping: CommentedMap, key: str, value: Any) -> None:
    """Set a value. Items of a list are set one by one, which preserves its style. New keys are inserted first, before trailing comments."""
    value = list(value) if isinstance(value, (list, tuple)) else value
    present = dict(mapping.non_merged_items())  # keys merged by `<<` belong to another section
    before = present.get(key)
    if isinstance(value, list) and isinstance(before, CommentedSeq) and len(before) == len(value) and before.anchor.value is None:
        for index, item in enumerate(value):
            before[index] = item
        return
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    if key in present:
        mapping[key] = value
    else:
        mapping.insert(0, key, value)


def _merged(text: str, plain: str, changed: str) -> str:
    """Apply the line differences between `plain`, the text as ruamel.yaml writes it, and `changed` to the original text.

    ruamel.yaml normalises spaces and indents. As long as the number of lines is unchanged, lines correspond one to one.
    """
    originals, before, after = (version.removesuffix("\n").split("\n") for version in (text, plain, changed))
    if len(originals) != len(before):
        return changed
    end = "\r" if originals[0].endswith("\r") else ""
    lines: list[str] = []
    for operation, i, j, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        lines += originals[i:j] if operation == "equal" else [line + end for line in after[start:stop]]
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")


def _written(value: Any) -> str:
    """Format a value as in params.yaml."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{Decimal(repr(float(value))):f}" if isinstance(value, float) else str(value)


def take_profile(params: Path, profiles: Path, name: str, force: bool) -> str:
    """Replace the settings file by a profile, byte for byte.

    Args:
        params: the settings file.
        profiles: folder of the profiles, NAME.yaml.
        name: name of the profile.
        force: also replace edited settings, which are saved as params.yaml.bak.

    Returns:
        A message that names the copy of edited settings; "" if there is no copy.

    Raises:
        InputError: the profile does not exist or is invalid, or the settings were edited and `force` is not set.
    """
    known = {path.stem: path for path in sorted(profiles.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"{profiles / name}.yaml: no such profile; there are {', '.join(known) or 'none in this folder'}")
    load_settings(known[name])
    profile = read_bytes(known[name], MOST_YAML)
    existing = read_bytes(params, MOST_YAML) if params.exists() else None
    if existing is not None and _plain(existing) == _plain(profile):
        return ""  # unchanged; do not write, since in a container the file may be read-only
    message = ""
    if existing is not None and _plain(existing) not in {_plain(read_bytes(path, MOST_YAML)) for path in known.values()}:
        if not force:
            raise InputError(
                f"{params}: has settings of your own, no profile's, and is left as it is; `dvc repro` runs them, "
                f"`python cli.py profile {name} --force` replaces them and keeps them as {params}.bak"
            )
        kept = _free_name(Path(f"{params}.bak"))
        with whole_file(kept) as temporary:
            temporary.write_bytes(existing)
        message = f"{params}: is profile {name} now; the settings before are kept as {kept}"
    with whole_file(followed(params), as_before=True) as temporary:
        temporary.write_bytes(profile)
    return message


def _plain(text: bytes) -> bytes:
    """Normalise line ends, which editors or git may have converted."""
    return text.replace(b"\r\n", b"\n").rstrip()


def _free_name(path: Path) -> Path:
    """The first of path, path-2, path-3, ... that does not exist."""
    numbered = (Path(f"{path}-{number}") for number in count(2))
    return next(other for other in chain([path], numbered) if not os.path.lexists(other))
