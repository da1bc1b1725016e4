"""What is known of a file format of a package: its media type, and how its content is unpacked to be searched for identifiers.

Each module that writes files of a package declares their formats beside the writer, in a mapping from the end of a file's name to a
`Format`; `package.FORMATS` holds them all. A file of any other name keeps a package from being released: searched as it is, what is
packed in it would be missed.
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
        unpack: gives all byte strings that the search reads in place of the file; raises ValueError where the file is damaged.
        text: whether people read it as text, whose words are compared with those of patients' names too.
    """

    media_type: str
    unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
    text: bool = False


def format_of(name: str, formats: Mapping[str, Format]) -> Format | None:
    """The format of a file by the longest end of its name that is known, None where none is."""
    known = [ending for ending in formats if name.endswith(ending)]
    return formats[max(known, key=len)] if known else None
