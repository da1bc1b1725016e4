"""What is no file where a file is expected: refused at once and never opened, in a process that would otherwise wait for ever.

Neighbours: pipes, sockets, folders, devices by a link and by a chain of links, links in a circle, the standard input of a process, in place
of every file that is read, and beside those that a package lists.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.reading import file_digest, open_file, read_bytes, read_text
from angiosynth.release.signature import sign
from angiosynth.runtime.unpacking import Unpacking
from tests.security.fuzz import make_sound
from tests.security.measured import ROOT, measure

pytestmark = pytest.mark.waits


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _chain(path: Path) -> None:
    middle = path.with_name(f"{path.name}-middle")
    middle.symlink_to("/dev/zero")
    path.symlink_to(middle)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "folder": Path.mkdir,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "chain": _chain,
    "circle": lambda path: path.symlink_to(path.name),
    "input": lambda path: path.symlink_to("/proc/self/fd/0"),  # a pipe
}
# The file that is replaced, below a folder of sound files, and what reads it.
PLACES = {
    "scan.nii": ("scan", "scan.nii"),
    "mask.nii": ("mask", "mask.nii"),
    "imported scan.nii": ("import", "scan.nii"),
    "params.yaml": ("settings", "params.yaml"),
    "table.csv": ("table", "table.csv"),
    "scores.csv": ("scores", "scores.csv"),
    "site-a.json": ("split", "site-a.json"),
    "unet/unet.json": ("unet", "unet"),
    "unet/unet.pt": ("unet", "unet"),
    "set/image.npy": ("set", "set"),
    "set/label.npy": ("set", "set"),
    "set/index.csv": ("set", "set"),
    "set/set.json": ("set", "set"),
    "key": ("signed package", "package"),
    **{
        f"package/{name}": ("package", "package")
        for name in (
            "SHA256SUMS",
            "SHA256SUMS.sig",
            "patches.npz",
            "card.json",
            "audit/audit.json",
            "nifti",
            "more",
            "a/b/more",
        )
    },
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make_sound(folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "private"], check=True)
    sign(folder / "package", folder / "private")
    shutil.copy(folder / "private.pub", folder / "key")
    return folder


def test_what_is_no_file_is_refused_wherever_one_is_read(sound: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[str, Path]] = {"sound": ("signed package", sound / "package")}
    for kind, make in KINDS.items():
        for number, (place, (reader, folder)) in enumerate(PLACES.items()):
            lab = tmp_path / f"{kind}-{number}"
            lab.mkdir()
            for needed in {folder, *(["key"] if reader == "signed package" else [])}:
                shutil.copytree(sound / needed, lab / needed) if (sound / needed).is_dir() else shutil.copy(sound / needed, lab)
            path = lab / place.removeprefix("imported ")
            if kind == "folder" and path.name == "nifti":
                continue
            if path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            if not (kind == "folder" and path.name == "more"):  # an empty folder in a package is nothing
                cases[f"{kind}: {place}"] = reader, lab / folder
    answers = measure(cases)
    assert answers.pop("sound").refused == ""
    wrong = {
        name: answer
        for name, answer in answers.items()
        if answer.raised or not answer.refused.startswith(str(tmp_path)) or "\n" in answer.refused
    }
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_opens_it(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    KINDS[kind](path)
    if kind == "input":
        path.unlink()
        reading, writing = os.pipe()
        path.symlink_to(f"/proc/self/fd/{reading}")

    def opened(*words: object, **more: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", opened)
    reads: tuple[Callable[[Path], object], ...] = (open_file, lambda path: read_bytes(path, 10), read_text, file_digest, Unpacking)
    for read in reads:
        with pytest.raises(OSError if kind == "circle" else InputError):
            read(path)
    if kind == "input":
        os.close(reading)
        os.close(writing)


def test_a_file_that_is_exchanged_while_it_is_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"sound")
    seen = os.stat(path)
    os.unlink(path)
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda name, **more: seen)
    with pytest.raises(InputError, match="is a pipe"):
        open_file(path)


def test_files_that_have_no_length_are_read_up_to_the_limit() -> None:
    assert b"Linux" in read_bytes(Path("/proc/version"), 1000)  # its length is told as 0
    assert read_bytes(Path("/proc/self/smaps"), 1 << 24).count(b"\n") > 1000  # longer than a page
    with pytest.raises(InputError, match="more than the 10 that it may have"):
        read_bytes(Path("/proc/version"), 10)


def test_commands_refuse_a_pipe_and_do_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "lab").mkdir()
    os.mkfifo(tmp_path / "lab" / "a_tof.nii.gz")
    commands = {
        "pipe.nii.gz": ["cohort", "--params", "pipe.nii.gz"],
        "lab/a_tof.nii.gz": ["import", "lab", "--scan", "*_tof", "--dry-run"],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    running = {
        name: subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        for name, words in commands.items()
    }
    for name, process in running.items():
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert f"{name}: is a pipe" in said
        assert "Traceback" not in said
