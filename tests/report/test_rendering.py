"""Templates: all values are escaped, a missing one is an error, and an installed package has all of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import angiosynth
from angiosynth.errors import InputError
from angiosynth.report.captions import TITLES
from angiosynth.report.rendering import Picture, Table, read_figure, render
from angiosynth.report.sweep_page import StudySection
from tests.conftest import ROOT
from tests.report.pages import PIXEL, Page

HOSTILE = "<b>'&\"</td>{{ 7 * 7 }}"


def test_a_table_and_a_picture_show_what_they_are_given() -> None:
    table = Table(HOSTILE, [HOSTILE, "second"], [[HOSTILE, HOSTILE], ["a", "b"]])
    study = StudySection(HOSTILE, HOSTILE, table, [Picture.of(PIXEL, HOSTILE, HOSTILE)])
    text = render("sweeps.html", titles=TITLES, studies=[study])
    page = Page(text)
    assert page.open == []
    assert "<b>" not in text
    assert page.text.count(HOSTILE) == 7  # the table's caption, head and row, the picture's caption, the study's title and counts
    assert [image["alt"] for image in page.all("img")] == [HOSTILE]
    assert len(page.all("th")) == 4
    assert len(page.all("td")) == 2


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="studies"):
        render("sweeps.html", titles=TITLES)


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: the figure is missing; run `dvc repro report`"):
        read_figure(tmp_path / "none.png")


def test_an_installed_package_carries_every_template() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["angiosynth"]
    package = Path(angiosynth.__file__).parent
    carried = {path for pattern in patterns for path in package.glob(pattern)}
    templates = set((package / "report" / "templates").iterdir())
    assert len(templates) >= 7
    assert templates <= carried


def test_every_page_forbids_what_is_not_in_it() -> None:
    """The browser itself then loads nothing and runs no script, whatever a value holds."""
    base = (Path(angiosynth.__file__).parent / "report" / "templates" / "base.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in base
