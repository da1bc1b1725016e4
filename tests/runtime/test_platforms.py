"""The program where the system lacks what Windows lacks: locks, limits, accounts, forks, most signals. No Windows runs here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.documented import environment
from tests.factories import make_cohort, tiny_tree

ROOT = Path(__file__).resolve().parents[2]
# Libraries first: they are the system's own builds. Then what Windows lacks goes, and this project is imported.
WITHOUT = """
import multiprocessing, os, signal, socket, subprocess, sys, tempfile, threading
import nibabel, numpy, ruamel.yaml, typer, pydantic, torch, rich.progress

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, words in (
    (os, "fork geteuid getuid getpgrp getsid setpgid posix_fallocate pidfd_open sched_getaffinity sysconf sysconf_names O_NONBLOCK "
         "O_NOFOLLOW O_NOCTTY O_CLOEXEC O_PATH"),
    (signal, "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGXCPU SIGKILL pidfd_send_signal pthread_sigmask sigpending"),
    (socket, "AF_UNIX send_fds recv_fds"),
):
    for word in words.split():
        if hasattr(module, word):
            delattr(module, word)
sys.argv = ["cli.py", *sys.argv[1:]]
from angiosynth.cli import app
app()
"""


def _run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-c", WITHOUT, *words]
    done = subprocess.run(
        command, cwd=folder, env=environment() | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_scans_become_patches_without_what_windows_lacks(tmp_path: Path) -> None:
    for site in ("a", "b"):
        make_cohort(tmp_path / "lab" / site, 4, (32, 36, 4), seed=ord(site))
    tree = tiny_tree()
    for site in ("a", "b"):
        tree["cohort"]["sites"][f"site-{site}"]["path"] = f"lab/{site}"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    _run(tmp_path, "cohort")
    _run(tmp_path, "patches")
    _run(tmp_path, "select-unet")
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written >= {"splits/site-a.json", "data/patches/site-a/image.npy", "data/patches/site-b/index.csv", "models/unet-choice.json"}
    assert not [name for name in written if ".partial-" in name or ".replaced-" in name]


def test_no_name_of_a_file_is_one_that_windows_refuses() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    refused = [name for name in listed if set(name) & set('<>:"|?*\\') or name.endswith((" ", "."))]
    assert refused == []
    assert len({name.lower() for name in listed}) == len(listed)  # its disks do not tell cases apart


def test_paths_in_dvcs_files_have_one_kind_of_separator() -> None:
    for name in ("dvc.yaml", "params.yaml"):
        assert "\\" not in (ROOT / name).read_text()
