"""Whose a package is: signed by release, checked by pretrain-from or by OpenSSH alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from angiosynth.errors import InputError
from angiosynth.release.checksums import verify, write_checksums
from angiosynth.release.signature import SIGNATURE, SUMS, sign
from angiosynth.release.sshsig import sign_message
from tests.documented import run

openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="this machine has no ssh-keygen to compare with")


def _keys(folder: Path, name: str, form: PrivateFormat = PrivateFormat.OpenSSH) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / name, folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    private.chmod(0o600)  # of others ssh-keygen takes none
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return private, public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.txt").write_text("a")
    write_checksums(tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_a_signature_holds_with_the_right_key_alone(folder: Path, tmp_path: Path, form: PrivateFormat) -> None:
    private, public = _keys(tmp_path, "mine", form)
    sign(folder, private)
    assert verify(folder, public).endswith("signed by the trusted key")
    assert "signed by the key SHA256:" in verify(folder, None)
    with pytest.raises(InputError, match=r"is by the key SHA256:.*, not by .*other\.pub"):
        verify(folder, _keys(tmp_path, "other")[1])


def test_checksums_written_anew_are_not_signed(folder: Path, tmp_path: Path) -> None:
    private, public = _keys(tmp_path, "mine")
    sign(folder, private)
    (folder / "a.txt").write_text("b")
    write_checksums(folder)
    for trusted in (public, None):
        with pytest.raises(InputError, match=r"SHA256SUMS\.sig: does not fit what it signs"):
            verify(folder, trusted)


def test_a_damaged_signature_or_one_for_another_purpose_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    _, public = _keys(tmp_path, "mine")
    other_purpose = sign_message((folder / SUMS).read_bytes(), Ed25519PrivateKey.generate(), "file").encode()
    for content, fault in (
        (bytes(64), "is no SSH signature"),
        (other_purpose[:-40], "is no SSH signature"),
        (other_purpose, "was made for the namespace 'file', not for 'angiosynth-release'"),
    ):
        (folder / SIGNATURE).write_bytes(content)
        for trusted in (public, None):
            with pytest.raises(InputError, match=fault) as caught:
                verify(folder, trusted)
            assert "\n" not in str(caught.value)


@openssh
def test_a_receiver_checks_a_package_without_this_project(folder: Path, tmp_path: Path) -> None:
    private, public = _keys(tmp_path, "mine")
    sign(folder, private)
    shutil.copy(public, tmp_path / "sender.pub")
    commands = (
        'echo "lab $(cat sender.pub)" > allowed_signers',
        "cd FOLDER",
        "ssh-keygen -Y verify -f ../allowed_signers -I lab -n angiosynth-release -s SHA256SUMS.sig < SHA256SUMS",
        "sha256sum --check --strict SHA256SUMS",
    )
    places = {"FOLDER": folder.name}
    assert 'Good "angiosynth-release" signature for lab' in run(tmp_path, " && ".join(commands), places)
    (folder / SUMS).write_bytes((folder / SUMS).read_bytes() + b"\n")
    run(tmp_path, " && ".join(commands), places, code=255)


@openssh
def test_a_sender_may_sign_with_openssh(folder: Path, tmp_path: Path) -> None:
    _, public = _keys(tmp_path, "mine")
    run(folder, "ssh-keygen -q -Y sign -f ../mine -n angiosynth-release SHA256SUMS")
    assert verify(folder, public).endswith("signed by the trusted key")


def test_a_trusted_key_asks_for_a_signature(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not signed"):
        verify(folder, _keys(tmp_path, "mine")[1])


def test_other_keys_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    rsa = tmp_path / "rsa"
    rsa.write_bytes(generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "noise").write_text("noise")
    for path, fault in ((rsa, "not an ed25519 key"), (tmp_path / "noise", "no private key"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InputError, match=fault):
            sign(folder, path)
