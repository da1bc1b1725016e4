"""Creator, licence, address, name and reason of a package: lines of plain words, escaped wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace
from angiosynth.release.card import Terms
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.settings.audit import ReleaseSettings
from angiosynth.settings.texts import LONGEST_LINE, escaped_markdown, licence_fault, line_fault, url_fault
from angiosynth.verbs.release import ReleaseRequest, release
from tests.factories import tiny_settings, tiny_tree

NO_LINE = [
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x00b",
    "a\x1b[31mb",
    "a\u2028b",
    "a\u2029b",
    "a\u202eb",
    "a\u200bb",
    "\ufeffa",
    "a\x9bb",
    "<b>a</b>",
    "<script>alert(1)</script>",
    "[a](http://evil.example)",
    "![a](x)",
    "a `code`",
    "a | b",
    "a \\ b",
    "{{a}}",
    "&lt;b&gt;",
    "&#60;b",
    "&#x3c;b",
    "",
    "   ",
    "\u00a0",
    "x" * (LONGEST_LINE + 1),
]
LINES = ["a lab", "Müller & Söhne, Berlin", "Dr. O'Neill-Škoda (2026)", "研究所", "AT&T", "x" * LONGEST_LINE, "R&D; Haus 3"]
NO_URL = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "ftp://lab.example",
    "lab.example",
    "//lab.example/x",
    "http:lab.example",
    "http://",
    "http:///x",
    "https://.",
    "https://-.example",
    "https://user@lab.example",
    "https://user:word@lab.example/x",
    "https://lab.example:99999",
    "https://lab.example:x",
    "https://lab.example/a b",
    "https://lab.example/\nx",
    "https://lab.example/\tx",
    " https://lab.example",
    "https://lab.example/<x>",
    'https://lab.example/"x',
    "https://lab.example/`x",
    "https://lab.example\\@evil.example",
    "https://[::1",
    "https://lab.example/" + "x" * 500,
    "https://lab..example",
]
URLS = [
    "https://lab.example",
    "http://lab.example/set",
    "https://lab.example:8443/a_b/(c)?d=1&e=2#f",
    "HTTPS://Lab.Example/x",
    "https://köln.example/x",
    "https://127.0.0.1/x",
    "https://localhost/x",
    "https://doi.org/10.5281/zenodo.123",
]
NO_LICENCE = [
    "javascript:alert(1)",
    "CC BY\n4.0",
    "<b>CC0</b>",
    "",
    "x" * 101,
    "[CC0](x)",
    "//evil.example",
    "ftp://x",
    "https://u@x.example",
]
LICENCES = [
    "CC-BY-4.0",
    "CC0-1.0",
    "Apache-2.0 OR MIT",
    "GPL-2.0-only WITH Classpath-exception-2.0",
    "CC BY 4.0",
    "all rights reserved",
    "https://creativecommons.org/licenses/by/4.0/",
    "GPL-2.0+",
    "nur für Forschung",
]


@pytest.mark.parametrize("text", NO_LINE)
def test_what_is_no_line_of_words_is_refused(text: str) -> None:
    """Neighbours: line ends and signs that cannot be seen, HTML, Markdown, entities, nothing, too much."""
    assert line_fault(text)
    with pytest.raises(ValidationError):
        ReleaseSettings(creator=text)


@pytest.mark.parametrize("text", LINES)
def test_names_of_people_and_houses_are_taken(text: str) -> None:
    assert ReleaseSettings(creator=text).creator == text


@pytest.mark.parametrize("text", NO_URL)
def test_what_is_no_address_of_the_web_is_refused(text: str) -> None:
    """Neighbours: other schemes, no scheme, no host, logins, ports, spaces, signs of markup, tricks with a backslash."""
    assert url_fault(text)
    with pytest.raises(ValidationError):
        ReleaseSettings(url=text)


@pytest.mark.parametrize("text", URLS)
def test_addresses_of_the_web_are_taken(text: str) -> None:
    assert ReleaseSettings(url=text).url == text


@given(st.text(max_size=60))
def test_no_address_has_a_login_or_another_scheme(text: str) -> None:
    for whole in (text, f"https://{text}"):
        if not url_fault(whole):
            parts = urlsplit(whole)
            assert parts.scheme in {"http", "https"}
            assert parts.hostname
            assert (parts.username, parts.password) == (None, None)


@pytest.mark.parametrize("text", NO_LICENCE)
def test_what_is_no_licence_is_refused(text: str) -> None:
    assert licence_fault(text)
    with pytest.raises(ValidationError):
        ReleaseSettings(licence=text)


@pytest.mark.parametrize("text", LICENCES)
def test_licences_are_taken(text: str) -> None:
    assert ReleaseSettings(licence=text).licence == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_", r"a \*b\* \_c\_"),
        ("# a", r"\# a"),
        ("~~a~~ $x$", r"\~\~a\~\~ \$x\$"),
        ("R&D", r"R\&D"),
        ("see https://a.example", r"see https\://a.example"),
        ("WWW.a.example", r"WWW\.a.example"),
        ("a@b.example", r"a\@b.example"),
        ("Dr. Meier (Köln), 5.", "Dr. Meier (Köln), 5."),
    ],
)
def test_markdown_shows_a_text_word_for_word(text: str, shown: str) -> None:
    assert escaped_markdown(text) == shown


def test_fields_are_escaped_where_they_are_shown_and_whole_where_machines_read(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    by = ReleaseSettings(creator='A *B* _C_ & "D" #1', licence="CC-BY-4.0", url="https://lab.example/a_b?c=1&d=2")
    audit = json.loads((audited / "audit.json").read_text())
    terms = Terms(by, "2026-01-31", "the *board* asked; see www.x.example")
    build_package(tmp_path / "a_b_c", synthetic, SharedAudit(audit, audited), terms)
    readme = (tmp_path / "a_b_c" / "README.md").read_text()
    assert r'A \*B\* \_C\_ \& "D" \#1' in readme
    assert r"# a\_b\_c" in readme
    assert r"the \*board\* asked; see www\.x.example" in readme
    for name, keys in (("card.json", ("creator",)), ("croissant.json", ("creator", "name"))):
        found = json.loads((tmp_path / "a_b_c" / name).read_text())
        for key in keys:
            found = found[key]
        assert found == by.creator
    assert json.loads((tmp_path / "a_b_c" / "croissant.json").read_text())["url"] == by.url


@pytest.mark.parametrize("reason", ["a\nb", "<b>x</b>", "[x](y)", "a\x1b]8;;http://evil\x07b", "x" * 501, "a\u202eb"])
def test_a_reason_is_a_line_too_and_is_looked_at_first(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: lines, tags, links, a terminal's sequence, too much, a change of direction; nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--override: ") as caught:
        release(tiny_settings(), Workspace(), "wgan-gp", ReleaseRequest("set-1", reason))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [("creator", "a\nb"), ("creator", "<script>"), ("url", "javascript:alert(1)"), ("url", "https://u:p@x.example"), ("licence", "[x](y)")],
)
def test_the_command_says_which_field_in_one_line(field: str, value: str, tmp_path: Path) -> None:
    tree = tiny_tree()
    tree["release"][field] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    done = CliRunner().invoke(commands, ["release", "set-1", "--params", str(tmp_path / "params.yaml")])
    assert isinstance(done.exception, InputError)
    assert f"release.{field}: " in str(done.exception)
    assert "\n" not in str(done.exception)
