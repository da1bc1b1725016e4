"""The wheel, built from a copy of the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from angiosynth.project.files import FILES
from tests.pipeline import ROOT

SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", *FILES)
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
OFFLINE = ("--no-deps", "--no-index")


def build_wheel(home: Path) -> Path:
    """Build it in home/source, without a network; gives the file, in home/dist."""
    for name in SOURCES:
        (home / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, home / "source" / name)
    shutil.copytree(ROOT / "src", home / "source" / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    words = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", str(home / "dist"), str(home / "source")]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = (home / "dist").glob("angiosynth-*.whl")
    return wheel
