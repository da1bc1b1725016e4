"""A DVC remote behind SSH and in an S3 store, as docs/team.md has a lab type it: pushed, cloned, pulled, nothing to run again.

DVC with its two plug-ins, and the store, have environments of their own in the folder that ANGIOSYNTH_TOOLS names;
`python -m benchmarks.export_tools FOLDER --only remotes --only moto` makes them. The SSH server is the system's OpenSSH with a
configuration, keys and a port of the test's.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.documented import ROOT, environment, run
from tests.servers import free_port

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.long]
SSH = ("dvc remote add -d lab ssh://dvc@storage.example.org/srv/dvc/angiosynth", "dvc remote modify --local lab keyfile ~/.ssh/id_ed25519")
S3 = (
    "dvc remote add -d lab s3://lab-dvc/angiosynth",
    "dvc remote modify lab endpointurl https://s3.example.org",
    "dvc remote modify --local lab profile lab",
)
SCAN, STAGE_OUTPUT = "data/raw/site-a/sub-001/anat/scan.nii.gz", "splits/site-a.json"
PIPELINE = """\
stages:
  cohort:
    cmd: mkdir -p splits && cat data/raw/site-a/sub-001/anat/scan.nii.gz > splits/site-a.json
    deps: [data/raw/site-a]
    outs: [splits/site-a.json]
"""


@pytest.fixture(scope="module")
def tools() -> Mapping[str, Path]:
    """Programs by environment."""
    folder = Path(os.environ.get("ANGIOSYNTH_TOOLS", "/nowhere"))
    programs = {name: folder / name / "bin" for name in ("remotes", "moto")}
    for name, place in programs.items():
        if not place.is_dir():
            pytest.skip(f"no environment {name}: `python -m benchmarks.export_tools FOLDER --only {name}`, name FOLDER in ANGIOSYNTH_TOOLS")
    return programs


@pytest.fixture
def type_in(tools: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a documented command with DVC of that environment, for a user with an empty home."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def typed(folder: Path, command: str, places: Mapping[str, str] | None = None) -> str:
        return run(folder, f"export PATH='{tools['remotes']}':\"$PATH\"\n{command}", places)

    return typed


def _lab(folder: Path, type_in: Callable[..., str]) -> Path:
    """A project with a scan that DVC keeps and a stage that has run; DVC's settings are this project's."""
    scan = folder / SCAN
    scan.parent.mkdir(parents=True)
    scan.write_bytes(os.urandom(1 << 18))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "dvc.yaml").write_text(PIPELINE)
    type_in(folder, "git init -q")
    type_in(folder, "dvc add data/raw/site-a && dvc repro && git add -A && git commit -q -m start")
    return folder


def _goes_there_and_comes_back(lab: Path, clone: Path, type_in: Callable[..., str]) -> None:
    """What docs/team.md has typed after the remote is named; in the clone nothing is run again."""
    type_in(lab, "git add .dvc/config")
    type_in(lab, 'git commit -a -m "A run"')
    type_in(lab, "dvc push")
    type_in(lab, f"git clone -q . '{clone}'")
    assert not (clone / SCAN).exists()
    shutil.copy(lab / ".dvc" / "config.local", clone / ".dvc" / "config.local")
    type_in(clone, "dvc pull data/raw/site-a")
    assert (clone / SCAN).read_bytes() == (lab / SCAN).read_bytes()
    type_in(clone, "dvc pull")
    assert (clone / STAGE_OUTPUT).read_bytes() == (lab / STAGE_OUTPUT).read_bytes()
    said = type_in(clone, "dvc repro")
    assert "Stage 'cohort' didn't change, skipping" in said
    assert "Running stage" not in said
    assert type_in(clone, "git status --porcelain") == ""


@contextmanager
def _ssh_server(home: Path) -> Iterator[tuple[int, Path]]:
    """OpenSSH on 127.0.0.1 that lets this user in by a key alone; gives its port and the key."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")
    if server is None:
        pytest.skip("no OpenSSH server here (Debian: apt install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which it asks for, and Debian's service makes
    for name in ("host", "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    shutil.copy(home / "id_ed25519.pub", home / "authorized_keys")
    port = free_port()
    lines = [
        *(f"HostKey {home}/host", f"AuthorizedKeysFile {home}/authorized_keys", "ListenAddress 127.0.0.1", "PidFile none"),
        *("Subsystem sftp internal-sftp", "StrictModes no", "UsePAM no", "PasswordAuthentication no"),
        "PermitRootLogin prohibit-password",
    ]
    (home / "sshd_config").write_text("\n".join(lines) + "\n")
    with (home / "sshd.log").open("w") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", str(home / "sshd_config"), "-p", str(port)], stderr=log)
    try:
        _wait_for_port(port, process, home / "sshd.log")
        yield port, home / "id_ed25519"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _s3_store(programs: Path, home: Path) -> Iterator[str]:
    """A store of moto's server with the bucket lab-dvc; gives its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (home / "moto.log").open("w") as log:
        process = subprocess.Popen(
            [programs / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, env=environment()
        )
    try:
        _wait_for_port(port, process, home / "moto.log")
        with urllib.request.urlopen(urllib.request.Request(f"{address}/lab-dvc", method="PUT"), timeout=30) as answer:
            assert answer.status == 200
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing answers at port {port}: {log.read_text()[-2000:]}")


def test_an_ssh_remote_is_pushed_to_and_pulled_from(tmp_path: Path, type_in: Callable[..., str]) -> None:
    lab = _lab(tmp_path / "lab", type_in)
    with _ssh_server(tmp_path / "home") as (port, key):
        stored = tmp_path / "srv"
        places = {"ssh://dvc@storage.example.org/srv/dvc/angiosynth": f"ssh://{getpass.getuser()}@127.0.0.1:{port}{stored}"}
        for command in SSH:
            type_in(lab, command, places | {"~/.ssh/id_ed25519": str(key)})
        _goes_there_and_comes_back(lab, tmp_path / "clone", type_in)
    assert [path for path in stored.rglob("*") if path.is_file()]


def test_an_ssh_remote_that_refuses_the_key_is_one_line(tmp_path: Path, type_in: Callable[..., str]) -> None:
    lab = _lab(tmp_path / "lab", type_in)
    with _ssh_server(tmp_path / "home") as (port, _):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        type_in(lab, f"dvc remote add -d lab ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/srv")
        type_in(lab, f"dvc remote modify --local lab keyfile '{tmp_path}/other'")
        with pytest.raises(AssertionError, match=r"(?i)permission denied"):
            type_in(lab, "dvc push")
    assert not (tmp_path / "srv").exists()


def test_an_s3_bucket_is_pushed_to_and_pulled_from(tmp_path: Path, tools: Mapping[str, Path], type_in: Callable[..., str]) -> None:
    lab = _lab(tmp_path / "lab", type_in)
    (credentials := tmp_path / "home" / ".aws" / "credentials").parent.mkdir()
    credentials.write_text("[lab]\naws_access_key_id = lab\naws_secret_access_key = s3cret-w0rd\n")
    with _s3_store(tools["moto"], tmp_path) as address:
        for command in S3:
            type_in(lab, command, {"https://s3.example.org": address})
        _goes_there_and_comes_back(lab, tmp_path / "clone", type_in)
    assert "s3cret-w0rd" not in "".join(path.read_text() for path in (lab / ".dvc").glob("config*"))
