"""What the system says, as one line that names a file or folder and fits the fault, whichever library met it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from angiosynth import cli
from angiosynth.data.nifti import write_mask
from angiosynth.data.patches import create_patch_arrays
from angiosynth.errors import InputError
from angiosynth.runtime import faults
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.faults import ADVICE, OTHERWISE
from angiosynth.runtime.output import whole_file, whole_folder, write_json
from tests.factories import make_arrays, write_nifti

RNG = np.random.default_rng(0)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: root asks for it")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _json(folder: Path) -> None:
    write_json(folder / "out", list(range(40_000)))


def _numpy(folder: Path) -> None:
    with whole_folder(folder / "out") as temporary:
        np.save(temporary / "image.npy", RNG.random(20_000))


def _archive(folder: Path) -> None:
    with whole_folder(folder / "out") as temporary:
        np.savez_compressed(temporary / "patches.npz", image=RNG.random(20_000))


def _torch(folder: Path) -> None:
    with whole_folder(folder / "out") as temporary:
        torch.save({"weights": torch.rand(40_000)}, temporary / "unet.pt")


def _figure(folder: Path) -> None:
    figure = Figure(figsize=(4, 4), dpi=100)
    figure.figimage(RNG.random((400, 400)))
    with whole_file(folder / "out") as temporary:
        figure.savefig(temporary, format="png")


def _mask(folder: Path) -> None:
    scan = write_nifti(folder.parent / "scan.nii", make_arrays((40, 44, 60), 1)[0])
    write_mask(RNG.random((40, 44, 60)) > 0.5, scan, folder / "out.nii")


@pytest.mark.parametrize("write", [_json, _numpy, _archive, _torch, _figure, _mask], ids=lambda write: write.__name__)
def test_a_full_disk_is_reported_as_such_by_every_library(small: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(InputError) as caught:
        write(small)
    assert str(caught.value).startswith(f"{small / 'out'}")
    assert "(No space left on device); free some space, then run again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(small.iterdir()) == []


def _exit_line(error: OSError, capsys: pytest.CaptureFixture[str]) -> str:
    def failing() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        cli.app(run=failing)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("code", sorted(errno.errorcode))
@pytest.mark.parametrize("name", ["models/x.pt", b"models/x.pt", Path("models/x.pt")], ids=["str", "bytes", "path"])
def test_every_fault_names_its_file_and_fits(code: int, name: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = _exit_line(OSError(code, os.strerror(code), name), capsys)
    assert line == f"angiosynth: models/x.pt: {os.strerror(code)}; {ADVICE.get(code, OTHERWISE)}, then run again"
    assert ("space" in line.partition("; ")[2]) == (code == errno.ENOSPC)


# Neighbours: the working folder's disk is full, the one for temporary files, neither, both; with and without a number.
@pytest.mark.parametrize("full", [(), ("project",), ("temporary",), ("project", "temporary")])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("500 requested and 100 written")])
def test_a_fault_without_a_file_names_the_folders(
    full: tuple[str, ...], error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {name: tmp_path / name for name in ("project", "temporary")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders["project"])
    monkeypatch.setattr("tempfile.tempdir", str(folders["temporary"]))
    monkeypatch.setattr(faults, "_is_full", lambda folder: folder.name in full)
    line = _exit_line(error, capsys)
    named = [name for name, folder in folders.items() if str(folder) in line]
    assert named == list(full or folders)
    assert ("free some space" in line) == (bool(full) or error.errno == errno.ENOSPC)


def test_a_checkpoint_on_a_full_disk_is_one_line(small: Path) -> None:
    with pytest.raises(InputError, match=r"No space left on device\); free some space"):
        Checkpoints(small / "run").save(1, {"weights": torch.rand(40_000)})


def test_patch_arrays_on_a_full_disk(small: Path) -> None:
    with pytest.raises(InputError, match=r"No space left on device\); free some space"), whole_folder(small / "set") as folder:
        create_patch_arrays(folder, 1000, 32)
