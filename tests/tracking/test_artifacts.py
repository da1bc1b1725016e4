"""Which places a run's files are fetched from, and how much of them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.tracking.artifacts import copy_ordinary, files_at_most, local_folder, refuse_other_places

SERVER = "http://lab.example.org:5000"


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/lab/mlruns/1/artifacts", "/lab/mlruns/1/artifacts"),
        ("file:///lab/50%25%20of/artifacts", "/lab/50% of/artifacts"),
        ("file://localhost/lab", "/lab"),
        ("mlruns/1", "mlruns/1"),
        ("file://elsewhere/lab", None),
        ("s3://bucket/1", None),
        ("mlflow-artifacts:/1/artifacts", None),
    ],
)
def test_a_folder_of_this_machine_is_distinguished_from_other_places(uri: str, folder: str | None) -> None:
    assert local_folder(uri) == (Path(folder) if folder else None)


@pytest.mark.parametrize(
    "uri", ["mlflow-artifacts:/1/artifacts", f"{SERVER}/api/x", "mlflow-artifacts://lab.example.org:5000/1", "s3://bucket/1"]
)
def test_the_registrys_own_server_and_stores_are_asked(uri: str) -> None:
    refuse_other_places(uri, SERVER)


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example.org/x",
        "http://lab.example.org:5001/x",
        "https://lab.example.org/x",
        "http://lab.example.org:5000@evil.example.org/x",
        "mlflow-artifacts://evil.example.org:5000/1",
        "runs:/1/x",
        "models:/x/1",
        "ftp://lab.example.org/x",
        "file://evil.example.org/x",
        "dbfs:/x",
        "x:y",
    ],
)
def test_another_server_gets_no_login_and_other_places_are_not_asked(uri: str) -> None:
    with pytest.raises(InputError, match=r"another server|such a place"):
        refuse_other_places(uri, SERVER)


def test_a_file_of_the_largest_size_is_copied_and_a_byte_more_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    copy_ordinary(tmp_path / "a", tmp_path / "b", 10)
    assert (tmp_path / "b").read_bytes() == b"x" * 10
    with pytest.raises(InputError, match=r"a: has 10 bytes or more, at most 9 are taken"):
        copy_ordinary(tmp_path / "a", tmp_path / "c", 9)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a device", "folder", "socket"])
def test_what_is_no_ordinary_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else tmp_path / "b")
    with pytest.raises(InputError, match="is no ordinary file"):
        copy_ordinary(path, tmp_path / "c", 10)


def test_no_file_grows_beyond_the_limit_whatever_was_announced(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def download() -> None:
        with files_at_most(1000, "s3://bucket/a"), (tmp_path / "a").open("wb", buffering=0) as stream:
            for _ in range(100):
                stream.write(b"x" * 64)

    with pytest.raises(InputError, match="at most 1,000 are taken"):
        download()
    assert (tmp_path / "a").stat().st_size <= 1000
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / "b").write_bytes(b"x" * 2000)
