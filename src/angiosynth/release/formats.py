"""File formats of a package: their media types, and how their content is unpacked for the search for identifiers.

Each module that writes files of a package declares their formats beside the writer, in a mapping from the end of a file's name to a
`Format`; `package.FORMATS` holds them all. A file of any other name keeps a package from being released: the search would
miss names that are packed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


def as_it_is(content: bytes) -> list[bytes]:
    """The content of a format in which nothing is packed or escaped."""
    return [content]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        media_type: as the Croissant description names it.
        unpack: gives all byte strings that the search reads in place of the file; raises ValueError if the file is damaged.
        text: whether people read it as text, whose words are compared with those of patients' names too.
    """

    media_type: str
    unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
    text: bool = False


def format_of(name: str, formats: Mapping[str, Format]) -> Format | None:
    """The format of a file by the longest known end of its name, None if no end is known."""
    known = [ending for ending in formats if name.endswith(ending)]
    return formats[max(known, key=len)] if known else None
