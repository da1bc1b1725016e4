"""Names from outside on a terminal: shown, never obeyed; a line stays a line."""

from __future__ import annotations

import ast
import csv
import io
import os
import pickle
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.cli import app, commands
from angiosynth.data.bids import find_patients
from angiosynth.data.cohort import build_cohort
from angiosynth.errors import InputError, printable
from angiosynth.report.style import drawn
from angiosynth.runtime.progress import progress, say, tell
from angiosynth.settings import load_settings
from tests.factories import make_arrays, make_cohort, one_site, tiny_settings, tiny_tree, write_nifti

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "angiosynth"

# Colour, a link, a window's title, a bell, backspaces, a return, C1 controls, what turns writing round, what has no width, ends of lines,
# one followed by an indented text as in a list of faults, half of a surrogate pair, rich's markup, braces, percent signs, mathematics.
NASTY = {
    "colour": "\x1b[31mred",
    "link": "\x1b]8;;http:x\x07here\x1b]8;;\x07",
    "title": "\x1b]0;title\x07",
    "clear": "\x1b[2J\x1b[H",
    "backspace": "a\b\b\x7f",
    "return": "a\rb",
    "c1": "\x9b31m\x85\x90",
    "bidi": "\u202etxt\u2066\u2069\u200f\u061c",
    "widthless": "a\u200b\u200d\u2060\ufeff\u00ad\u3164\ufe0f\U000e0041b",
    "lines": "a\nb\u2028c\u2029d\x0be\x0c",
    "indented": "a\n  angiosynth: all is well",
    "surrogate": "a\udcff\udc9b",
    "markup": "[red][link=http:x]a[/][/red][x]",
    "signs": "{0} {a} %s %(a)s $\\frac{$ \\x1b `id`",
}
# For what takes longer: all at once, and those that end where another begins.
NASTIEST = {
    "all": "".join(text for kind, text in NASTY.items() if kind not in ("surrogate", "signs")),
    "signs": NASTY["signs"],
}
OBEYED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _quiet(text: str, lines: int | None = None) -> None:
    """Assert that a terminal shows all of it and obeys none of it."""
    shown = text.removesuffix("\n").split("\n")
    assert all(unicodedata.category(character) not in OBEYED for line in shown for character in line), ascii(text)
    assert lines is None or len(shown) == lines, ascii(text)


def _call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app(lambda: commands(list(words)))
    return int(caught.value.code or 0)


@given(st.text(st.characters(), max_size=20))
def test_no_text_is_obeyed_and_visible_ones_are_left_alone(text: str) -> None:
    """Of all of Unicode."""
    _quiet(printable(text), 1)
    assert printable(printable(text)) == printable(text)
    if text.isprintable() and text.isascii():
        assert printable(text) == text


@pytest.mark.parametrize("text", ["Müller", "Mu\u0308ller", "山田 太郎", "Ñandú", "ﷺ", "😀", "[x] 100% {a}", "\\x1b", "½ ± µm"])
def test_names_of_any_script_are_shown_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("kind", NASTY)
def test_every_way_to_speak_is_quiet(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name = NASTY[kind]
    say(name)
    tell(name)
    out, error = capsys.readouterr()
    _quiet(out, 1)
    _quiet(error, 1)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress([1], name, 1))
    assert printable(name).split()[0] in terminal.getvalue()
    assert not set(terminal.getvalue()) & set(name) & set("\x07\b\x9b\x90\u202e\u200b\u2066\ufeff\udcff\x85")
    assert "\x1b]" not in terminal.getvalue()


@pytest.mark.parametrize("kind", NASTY)
def test_a_fault_is_a_line_and_several_are_as_many(kind: str) -> None:
    name = NASTY[kind]
    _quiet(str(InputError(f"{name}: is no scan")), 1)
    several = InputError("2 faults", f"{name}: is no scan", f"{name}: is none either")
    _quiet(str(several), 3)
    assert str(pickle.loads(pickle.dumps(several))) == str(several), "from a worker's process"
    _quiet(str(InputError(f"left as it was: {several}")), 1)


def _verbs(nasty: str, folder: Path) -> Iterator[list[str]]:
    """A call of each command, with a name from outside wherever one is taken."""
    yield ["segment", nasty, "-o", f"{nasty}.nii"]
    yield ["segment", "scan.nii", "-o", nasty]
    yield ["segment", "scan.nii", "-o", "out.nii", "--model", nasty]
    yield ["segment", "scan.nii", "-o", "out.nii", "--mask", nasty]
    yield ["import", nasty, "--scan", nasty, "--dry-run"]
    yield ["import", str(folder), "--scan", nasty, "--vessels", nasty, "--dry-run"]
    yield ["import", str(folder), "--table", nasty, "--dry-run"]
    yield ["import", str(folder), "--scan", "*", "--vessel-values", nasty, "--dry-run"]
    yield ["import", str(folder), "--scan", "*", "--without-brain", nasty, "--dry-run"]
    yield ["train-generator", "--model", nasty]
    yield ["train-unet", "--data", nasty]
    yield ["transfer", "--start", nasty]
    yield ["release", nasty]
    yield ["release", "x", "--sign-key", nasty]
    yield ["profile", nasty]
    yield ["serve", "--model", nasty, "--port", "1"]
    yield ["serve", "--model", "models:/x/1", "--port", nasty]
    yield ["sweep", "--model", "dcgan", "--trials", nasty]
    yield ["sweep-apply", "--study", nasty]
    yield ["sweep-worker", "--study", nasty]
    yield [nasty]
    yield ["summary", f"--{nasty}"]
    yield ["summary", nasty]
    yield from ([verb, "--params", nasty] for verb in ("phantom", "cohort", "patches", "select-unet", "summary", "report"))


@pytest.mark.parametrize("kind", NASTIEST)
def test_every_command_answers_a_name_that_is_none_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and never a traceback. What goes on may be told before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", "")
    Path("params.yaml").write_text(yaml.safe_dump(tiny_tree()))
    write_nifti(Path("scan.nii"), make_arrays((16, 16, 3), 1)[0])
    (tmp_path / "folder").mkdir()
    nasty = NASTIEST[kind] + NASTY["surrogate"]
    for words in _verbs(nasty, tmp_path / "folder"):
        capsys.readouterr()
        assert _call(*words) == 2, words
        out, error = capsys.readouterr()
        _quiet(error)
        _quiet(out)
        assert error.splitlines()[-1].startswith("angiosynth: "), words
        assert error.count("angiosynth: ") == 1 + nasty.count("angiosynth: ") * error.count("all is well"), words


FILE_KINDS = ["all", "signs"]


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_files_of_any_name_are_listed_in_lines(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table with a line each, and a list of faults with a line each, whatever the files are called."""
    monkeypatch.chdir(tmp_path)
    name = NASTIEST[kind].replace("/", "-")
    scan, brain, _ = make_arrays((16, 16, 3), 1)
    for number in range(2):
        write_nifti(Path("lab") / f"{number}{name}_tof.nii", scan + number * 7)
        write_nifti(Path("lab") / f"{number}{name}_brain.nii", brain)
    assert _call("import", "lab", "--scan", "*_tof", "--brain", "*_brain", "--dry-run") == 0
    out, error = capsys.readouterr()
    _quiet(out, 4)
    _quiet(error)
    for number in range(2):
        Path("lab", f"{number}{name}_brain.nii").write_bytes(b"no NIfTI")
    assert _call("import", "lab", "--scan", "*_tof", "--brain", "*_brain", "--dry-run") == 2
    _quiet(capsys.readouterr().err, 3)


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_settings_with_any_key_or_value_are_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key, a key within a section, a number, a folder's name, a choice."""
    monkeypatch.chdir(tmp_path)
    name, tree = NASTIEST[kind], tiny_tree()
    trees = [tree | {name: 1}, tree | {"unet": tree["unet"] | {name: 1}}, tree | {"unet": tree["unet"] | {"steps": name}}]
    trees += [_at(tree, name), tree | {"unet": tree["unet"] | {"precision": name}}]
    for changed in trees:
        Path("params.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(InputError) as caught:  # those of a folder's name come from who opens it
            find_patients(Path(load_settings(Path("params.yaml")).cohort.of_source.path))
        _quiet(str(caught.value), 1)


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_patients_of_any_name_are_quiet(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A BIDS folder and a column of a table that name them."""
    monkeypatch.chdir(tmp_path)
    make_cohort(Path("site"), 1, (16, 16, 3))
    name = NASTIEST[kind].replace("/", "-")
    Path("site/sub-01").rename(Path("site") / f"sub-{name}")
    settings = tiny_settings(cohort=one_site("site")).cohort
    with pytest.raises(InputError) as caught:
        build_cohort(settings, Path("splits"), Path("cohort"))
    _quiet(str(caught.value))
    _quiet(capsys.readouterr().err)
    with Path("table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["scan", "vessels", "brain"], [name, "", ""], [name, name, name]])
    assert _call("import", "site", "--table", "table.csv", "--dry-run") == 2
    _quiet(capsys.readouterr().err)


def test_what_libraries_and_python_itself_print_is_quiet_too() -> None:
    """An exception that nobody caught, in a thread too, a log line, a warning."""
    code = (
        "import logging, sys, threading, warnings\n"
        f"from angiosynth.runtime.secrets import hide_secrets_in_tracebacks_and_logs; hide_secrets_in_tracebacks_and_logs()\n"
        f"name = {NASTY['colour'] + NASTY['link'] + NASTY['bidi'] + NASTY['return']!r}\n"
        "logging.getLogger('library').warning('read %s', name); warnings.warn(name)\n"
        "def fail(): raise ValueError(name)\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "try:\n    fail()\nexcept ValueError:\n    logging.getLogger('library').exception('caught')\n"
        "fail()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 1
    assert done.stderr.count("\\x1b[31mred") == 5, "each of them was printed"
    _quiet(done.stderr)


@pytest.mark.parametrize("kind", sorted(set(NASTY) - {"surrogate"}))
def test_a_figure_takes_any_name_for_a_title(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signs that its font has not
        with drawn(tmp_path / "figure.png", 2, 2) as figure:
            figure.suptitle(NASTY[kind])
            figure.add_subplot().set_title(f"${NASTY[kind]}$")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


SPEAKS = {"print", "typer.echo", "typer.secho", "click.echo", "warnings.warn", "traceback.print_exc", "traceback.print_exception", "pprint"}
SPEAKS |= {"sys.stdout.write", "sys.stderr.write", "Console", "os.write", "sys.exit"}
LOGS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
ROOM = {"runtime/progress.py", "runtime/secrets.py"}  # say, tell, the bar; tracebacks and log lines
RECEIVERS = "exports/receivers/"  # programs that go along with an export and are run by others, without this project


def _speaking(text: str) -> Iterator[str]:
    """Calls that print by another way than the room's."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "sys.exit":  # a text would be printed
            if node.args and not isinstance(node.args[0], (ast.Constant, ast.Call, ast.IfExp)):
                yield ast.unparse(node)
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield ast.unparse(node)
        elif called in SPEAKS or (
            isinstance(node.func, ast.Attribute) and node.func.attr in LOGS and "log" in ast.unparse(node.func.value).lower()
        ):
            yield called


def test_no_module_prints_but_through_the_one_function() -> None:
    files = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    found = {name: sorted(_speaking(text)) for name, text in files.items() if name not in ROOM and not name.startswith(RECEIVERS)}
    assert not {name: calls for name, calls in found.items() if calls}
    assert set(_speaking(files["runtime/progress.py"])) == {"print", "Console"}


@pytest.mark.parametrize(
    "text",
    ["print(x)", "typer.echo(x)", "sys.stderr.write(x)", "warnings.warn(x)", "logging.warning(x)", "sys.exit(text)", "logger.info(x)"],
)
def test_a_planted_print_is_found(text: str) -> None:
    assert list(_speaking(text))


def _at(tree: dict[str, Any], folder: str) -> dict[str, Any]:
    """The settings with another folder of the source's scans."""
    sites = tree["cohort"]["sites"]
    return tree | {"cohort": tree["cohort"] | {"sites": sites | {"site-a": sites["site-a"] | {"path": folder}}}}
