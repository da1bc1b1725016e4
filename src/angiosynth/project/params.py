"""Changing params.yaml: single values, with comments, order and layout kept, or the whole file by a profile."""

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

WIDEST = 10_000_000  # characters of a line, so that none is wrapped


def change_settings(path: Path, section: Sequence[str], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Write values into one section of a settings file, with its comments, order and layout kept.

    All lines but those of the values stay byte for byte; within a changed line ruamel.yaml puts the spaces in order. Where it cannot keep
    the number of lines (a text or list that goes on in further lines), it lays out the whole file.

    Args:
        path: the settings file.
        section: the keys that lead to it, such as ("generators", NAME).
        values: numbers, texts, truth values, or lists of these.

    Returns:
        (key, value before, value now) for each, as texts; "(default)" for a key that the section did not have.

    Raises:
        InputError: the file is missing or wrong, or would be wrong with these values; it is left as it was.
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
    """The changes, and the text with them."""
    try:
        explicit_start = text.removeprefix("\ufeff").startswith("---")
        tree = _round_trip().load(text.replace("\r\n", "\n"))
        plain = _dumped(tree, explicit_start)
        mapping = _section(path, tree, section)
        changes = [(key, _written(mapping[key]) if key in mapping else "(default)", _written(values[key])) for key in values]
        for key, value in values.items():
            _put(mapping, key, value)
        return changes, _merged(text, plain, _dumped(tree, explicit_start))
    except (YAMLError, NotImplementedError) as error:  # the reader that keeps comments is narrower than the safe one
        raise InputError(f"{path}: cannot be changed in place; write the values by hand: {dict(values)}") from error


def _round_trip() -> YAML:
    """ruamel.yaml's reader and writer that keep comments, quotes and flow style."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = WIDEST
    return yaml


class _Representer(RoundTripRepresenter):
    """Writes floats as decimals, never as 5e-05, which YAML 1.1 takes for a text."""


_Representer.add_representer(float, lambda representer, value: representer.represent_scalar("tag:yaml.org,2002:float", _written(value)))


def _dumped(tree: Any, explicit_start: bool) -> str:
    stream = io.StringIO()
    yaml = _round_trip()
    yaml.explicit_start = explicit_start
    yaml.dump(tree, stream)
    return stream.getvalue()


def _section(path: Path, tree: Any, section: Sequence[str]) -> CommentedMap:
    """The mapping under the keys; InputError if it is missing, or shared by an alias elsewhere."""
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
    """Set a value; items of a list are set one by one, which keeps its style. A new key comes first, ahead of trailing comments."""
    value = list(value) if isinstance(value, (list, tuple)) else value
    present = dict(mapping.non_merged_items())  # a key that `<<` brings in is another section's
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
    """The text with the lines in which `changed` differs from `plain`, which is the text as ruamel.yaml writes it.

    ruamel.yaml puts spaces and indents in order on the way. As long as that keeps the number of lines, lines correspond one to one.
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
    """A value as params.yaml holds it."""
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
        profiles: the folder of profiles, NAME.yaml.
        name: of the profile.
        force: replace settings that are no profile's too; they are kept beside, as params.yaml.bak.

    Returns:
        A line that names the copy of edited settings, "" if none was made.

    Raises:
        InputError: there is no such profile, it is wrong, or the settings were edited and `force` is not given.
    """
    known = {path.stem: path for path in sorted(profiles.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"{profiles / name}.yaml: no such profile; there are {', '.join(known) or 'none in this folder'}")
    load_settings(known[name])
    profile = read_bytes(known[name], MOST_YAML)
    existing = read_bytes(params, MOST_YAML) if params.exists() else None
    if existing is not None and _plain(existing) == _plain(profile):
        return ""  # nothing to write: in a container the file may be read-only
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
    """Without the line ends of an editor or of git on another system."""
    return text.replace(b"\r\n", b"\n").rstrip()


def _free_name(path: Path) -> Path:
    """The path or, if it exists, the first of path-2, path-3, ... that does not."""
    numbered = (Path(f"{path}-{number}") for number in count(2))
    return next(other for other in chain([path], numbered) if not os.path.lexists(other))
