"""The command line with names of every kind: an exit code, and one line without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.factories import make_cohort, tiny_tree, untried

ROOT = Path(__file__).resolve().parents[1]
NAMES = [b"M\xc3\xbcller", b"Mu\xcc\x88ller", b"lat\xfcin", b"new\nline", b"[x] *?#%41 &+;'\"", b"-dash", "😀".encode(), b"n" * 250]
PLACES = {
    "C": {"LC_ALL": "C"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "no UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def _call(folder: Path, place: str, *words: bytes) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in ("LANG", "LC_ALL", "PYTHONIOENCODING")}
    env = {**kept, **PLACES[place], "PYTHONPATH": str(ROOT / "src"), "ANGIOSYNTH_TRACKING": "off"}
    command = [os.fsencode(sys.executable), *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)


# One process for all names, since its imports take longer than its work; it says each exit code.
EACH = """
import sys
from angiosynth.cli import app, commands
for name in sys.argv[1:]:
    try:
        app(lambda: commands(["import", "--scan", "*", "--dry-run", "--", name]))
    except SystemExit as end:
        print(end.code)
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_name_in_a_message_is_one_line(place: str, tmp_path: Path) -> None:
    """Neighbours: both Unicode forms, no UTF-8, ends of lines, what shells, URIs and markup mean something by, long names; encodings."""
    done = _call(tmp_path, place, b"-c", EACH.encode(), *NAMES)
    lines = done.stderr.split(b"\n")[:-1]
    assert (done.returncode, done.stdout.split()) == (0, [b"2"] * len(NAMES)), done.stderr
    assert len(lines) == len(NAMES), lines
    for name, line in zip(NAMES, lines, strict=True):
        assert line.startswith(b"angiosynth: "), name


@pytest.mark.long
def test_a_project_and_its_scans_lie_in_folders_of_any_name(tmp_path: Path) -> None:
    project = tmp_path / os.fsdecode("50% #1? [a]*\n Mu\u0308ller 😀 ".encode() + b"lat\xfcin")
    site = "scans 50% [a] Mu\u0308ller"
    make_cohort(project / site, 4, (32, 36, 4), seed=1)
    tree = untried(tiny_tree())
    tree["cohort"]["sites"] = {"site-a": {**tree["cohort"]["sites"]["site-a"], "path": site}}
    (project / "params.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    done = _call(project, "ascii", os.fsencode(ROOT / "cli.py"), b"cohort")
    assert done.returncode == 0, done.stderr
    assert (project / "splits" / "site-a.json").is_file()
