"""Render HTML from the Jinja2 templates in `templates/`; values for their macros."""

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
    """A table of a page; the first cell of each row is its heading."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False  # cells contain sentences, which are wrapped and left-aligned


@dataclass(frozen=True)
class Picture:
    """An image embedded in a page: PNG as a data URI, text alternative, and caption."""

    source: str
    alt: str
    caption: str

    @classmethod
    def of(cls, png: bytes, alt: str, caption: str) -> Picture:
        return cls(f"data:image/png;base64,{base64.b64encode(png).decode()}", alt, caption)


def render(template: str, **values: object) -> str:
    """Render a template of `templates/`.

    Raises:
        jinja2.UndefinedError: the template uses a missing value.
    """
    return _environment().get_template(template).render(values)


def read_figure(path: Path) -> bytes:
    """Read a PNG file drawn by the report.

    Raises:
        InputError: it is missing.
    """
    try:
        return read_bytes(path, MOST_PICTURE)
    except OSError as error:
        raise InputError(f"{path}: the figure is missing; run `dvc repro report` to draw it") from error


def with_interval(scores: Mapping[str, float] | None, key: str, form: str, patients: int = 0) -> str:
    """Format a mean and its 95% interval as "0.869 (0.862 to 0.876)"; without an interval only the mean, without a mean a dash.

    Args:
        scores: mapping with `key`, and optionally `key`_low and `key`_high.
        key: name of the mean.
        form: format of each number: ".3f", "+.3f", ".0%".
        patients: number of patients of the mean, if known; for 1 no interval is shown.
    """
    if scores is None or key not in scores:
        return "-"
    if patients == 1:  # all resamples of one patient are equal
        return format(scores[key], form)
    mean, *ends = (format(scores[name], form) for name in (key, f"{key}_low", f"{key}_high") if name in scores)
    return f"{mean} ({' to '.join(ends)})" if ends else mean


@cache
def _environment() -> Environment:
    # Names, notes and settings come from the user, so all values are escaped. Missing values are errors instead of gaps in the page.
    loader = PackageLoader("angiosynth.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
