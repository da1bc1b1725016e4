"""File formats of a package: media types, and functions that unpack their content for the search for identifiers.

Each module that writes files of a package declares their formats next to the writer, as a mapping from file suffix to `Format`;
`package.FORMATS` collects them. A package with a file of unknown format is not released, because the search would miss names in compressed
content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


def as_it_is(content: bytes) -> list[bytes]:
    """Unpack a format without compression or escaping: the content itself."""
    return [content]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        media_type: media type for the Croissant description.
        unpack: returns all byte strings that the search reads in place of the file; raises ValueError if the file is damaged.
        text: whether it is text for people, whose words are also compared with the words of patient names.
    """

    media_type: str
    unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
    text: bool = False


def format_of(name: str, formats: Mapping[str, Format]) -> Format | None:
    """Format of a file by the longest known suffix of its name; None if no suffix is known."""
    known = [ending for ending in formats if name.endswith(ending)]
    return formats[max(known, key=len)] if known else None
