"""HTML from the Jinja2 templates in `templates/`, and the values that their macros show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from angiosynth.errors import InputError
from angiosynth.reading import MOST_PICTURE, read_bytes


@dataclass(frozen=True)
class Table:
    """One table of a page; the first cell of each row is the row's heading."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False  # cells hold sentences: they wrap and stand on the left


@dataclass(frozen=True)
class Picture:
    """One PNG inside a page: its bytes as a data URI, the text for who cannot see it, and its caption."""

    source: str
    alt: str
    caption: str

    @classmethod
    def of(cls, png: bytes, alt: str, caption: str) -> Picture:
        return cls(f"data:image/png;base64,{base64.b64encode(png).decode()}", alt, caption)


def render(template: str, **values: object) -> str:
    """Fill in one template of `templates/`.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    return _environment().get_template(template).render(values)


def read_figure(path: Path) -> bytes:
    """The bytes of a PNG that the report has drawn.

    Raises:
        InputError: it is missing.
    """
    try:
        return read_bytes(path, MOST_PICTURE)
    except OSError as error:
        raise InputError(f"{path}: the figure is missing; run `dvc repro report` to draw it") from error


def with_interval(scores: Mapping[str, float] | None, key: str, form: str, patients: int = 0) -> str:
    """A mean and its 95% interval, such as "0.869 (0.862 to 0.876)"; the mean alone without one, a dash without either.

    Args:
        scores: `key`, and perhaps `key`_low and `key`_high.
        key: of the mean.
        form: of each number, as in `format`: ".3f", "+.3f", ".0%".
        patients: that the mean is taken over, where known; of 1 there is no interval.
    """
    if scores is None or key not in scores:
        return "-"
    if patients == 1:  # the resamples of one patient are that patient
        return format(scores[key], form)
    mean, *ends = (format(scores[name], form) for name in (key, f"{key}_low", f"{key}_high") if name in scores)
    return f"{mean} ({' to '.join(ends)})" if ends else mean


@cache
def _environment() -> Environment:
    # Names, notes and settings are the user's, so every value is escaped. A value that is missing is an error, never a gap in the page.
    loader = PackageLoader("angiosynth.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
