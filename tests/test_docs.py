"""README.md and docs/ as a site: no dead link, every page in its place, messages as they are printed."""

from __future__ import annotations

import ast
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documented import PAGES, ROOT

LINKED = (*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md")))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
OUTSIDE = ("http://", "https://", "mailto:")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    names = set()
    for heading in re.findall(r"^#{1,6} (.+)$", FENCED.sub("", text), re.MULTILINE):
        plain = unicodedata.normalize("NFKC", re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)).lower()
        names.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return names


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of a page to files that are not there, or to headings that their page does not have."""
    dead = []
    for link in LINK.findall(FENCED.sub("", text)):
        if link.startswith(OUTSIDE):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        there = target.is_file() and (not anchor or anchor in anchors(text if target == page else target.read_text(encoding="utf-8")))
        dead += [] if there else [link]
    return dead


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_dead_links_are_found() -> None:
    page = ROOT / "docs" / "index.md"
    text = "# One `word`, two\n[a](team.md) [b](#one-word-two) [c](nowhere.md) [d](team.md#nothing) [e](#two) [f](https://example.org/x)"
    assert dead_links(page, text) == ["nowhere.md", "team.md#nothing", "#two"]


def pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(entry)]


def test_every_page_has_one_place_in_the_site() -> None:
    pages = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(pages) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_the_site_is_made_by_pinned_programs() -> None:
    lines = [line for line in (ROOT / "requirements-docs.txt").read_text().splitlines() if not line.startswith("#")]
    assert {line.partition("==")[0] for line in lines} == {"mkdocs", "mkdocs-material", "mkdocstrings", "mkdocstrings-python", "ruff"}
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)


def test_the_page_of_python_names_has_all_that_is_public_and_nothing_else() -> None:
    described = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    rows = re.findall(r"^\| `(angiosynth[\w.]*)` \| (.+) \|$", (ROOT / "docs" / "public-api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert described == [f"{module}.{name}" for module, names in rows for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize("name", re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
def test_public_names_have_docstrings(name: str) -> None:
    """And the public methods of classes; of a variable, the text below it."""
    module, _, last = name.rpartition(".")
    path = ROOT / "src" / Path(*module.split("."))
    body = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == last:
            functions = [one for one in ast.walk(node) if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
            assert [one.name for one in (node, *functions) if not ast.get_docstring(one)] == []
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == last for target in targets):
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            assert isinstance(after.value.value, str)
            return
    raise AssertionError(f"{name} is not defined there")


def test_messages_of_the_page_on_problems_are_in_the_code() -> None:
    text = (ROOT / "docs" / "problems.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", text.split("## What other programs")[0], re.MULTILINE)
    assert len(rows) > 25
    quoted = {"; lower ", "is cut short", "no voxel is a vessel's"}  # messages that the second table refers to
    assert quoted <= set(rows)
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that go on in the next line
    assert [row for row in rows if row not in joined] == []


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = [word.lower() for word in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) if word not in {"word", "---"}]
    assert words == sorted(set(words))
