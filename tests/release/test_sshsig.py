"""Signatures in OpenSSH's format: OpenSSH accepts ours and makes the same ones; damaged and foreign ones are refused."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from angiosynth.release.signature import NAMESPACE
from angiosynth.release.sshsig import dearmored, fingerprint, sign_message, verify_message

openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="this machine has no ssh-keygen to compare with")
MESSAGE = b"0123  patches.npz\n"
# Made by `ssh-keygen -Y sign -n angiosynth-release` (OpenSSH 9.2) with the key whose private bytes are 32 zeros.
ZERO_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
BY_OPENSSH = """\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgO2onvM62pC1io6jQKm8Nc2UyFX
cd4kOmOsBIoYtZ2ikAAAASYW5naW9zeW50aC1yZWxlYXNlAAAAAAAAAAZzaGE1MTIAAABT
AAAAC3NzaC1lZDI1NTE5AAAAQI5Svc//3FNmH6+CeeF782jr+z+qV0yYzuMdwYOAx6uIQS
x5PqVbI/CWjmMn0yL+fuUBCkZCqoxUKDnqq1GVEgI=
-----END SSH SIGNATURE-----
"""


def _ssh_keygen(folder: Path, *words: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *words], cwd=folder, input=text, capture_output=True, check=False)


def _write_key(folder: Path, key: Ed25519PrivateKey) -> None:
    path = folder / "key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)  # of others ssh-keygen takes none
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    (folder / "key.pub").write_text(f"{line}\n")
    (folder / "allowed_signers").write_text(f"lab {line}\n")


def test_a_signature_is_the_one_that_openssh_made() -> None:
    assert sign_message(MESSAGE, ZERO_KEY, NAMESPACE) == BY_OPENSSH
    assert verify_message(MESSAGE, BY_OPENSSH.encode(), NAMESPACE) == ZERO_KEY.public_key()
    assert verify_message(MESSAGE, BY_OPENSSH.replace("\n", "\r\n").encode(), NAMESPACE) == ZERO_KEY.public_key()


@openssh
@pytest.mark.parametrize("message", [b"", b"a", MESSAGE * 1000])
def test_openssh_makes_and_accepts_the_same_signatures(message: bytes, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _write_key(tmp_path, key)
    ours = sign_message(message, key, NAMESPACE)
    theirs = _ssh_keygen(tmp_path, "-q", "-Y", "sign", "-f", "key", "-n", NAMESPACE, text=message)
    assert theirs.stdout.decode() == ours
    (tmp_path / "sig").write_text(ours)
    verify = ("-Y", "verify", "-f", "allowed_signers", "-I", "lab", "-s", "sig", "-n")
    good = _ssh_keygen(tmp_path, *verify, NAMESPACE, text=message)
    assert good.returncode == 0, good.stderr
    assert fingerprint(key.public_key()) in good.stdout.decode()
    assert _ssh_keygen(tmp_path, *verify, NAMESPACE, text=message + b"!").returncode != 0
    assert _ssh_keygen(tmp_path, *verify, "file", text=message).returncode != 0


@openssh
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-n", "file"), "was made for the namespace 'file', not for 'angiosynth-release'"),
        (("-n", NAMESPACE, "-O", "hashalg=sha256"), "uses the hash 'sha256', not sha512"),
    ],
)
def test_another_namespace_or_hash_is_refused(words: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    _write_key(tmp_path, ZERO_KEY)
    signed = _ssh_keygen(tmp_path, "-q", "-Y", "sign", "-f", "key", *words, text=MESSAGE)
    with pytest.raises(ValueError, match=re.escape(reason)):
        verify_message(MESSAGE, signed.stdout, NAMESPACE)


@openssh
@pytest.mark.parametrize(("kind", "bits"), [("rsa", "1024"), ("ecdsa", "256")])
def test_another_type_of_key_is_refused(kind: str, bits: str, tmp_path: Path) -> None:
    _ssh_keygen(tmp_path, "-q", "-t", kind, "-b", bits, "-N", "", "-f", "key")
    signed = _ssh_keygen(tmp_path, "-q", "-Y", "sign", "-f", "key", "-n", NAMESPACE, text=MESSAGE)
    with pytest.raises(ValueError, match=f"is by a key of type '.*{kind}.*', not ssh-ed25519"):
        verify_message(MESSAGE, signed.stdout, NAMESPACE)


def test_every_changed_or_missing_byte_is_noticed() -> None:
    blob = dearmored(BY_OPENSSH.encode())
    for place in range(len(blob)):
        changed = bytearray(blob)
        changed[place] ^= 1
        for broken in (bytes(changed), blob[:place]):
            with pytest.raises(ValueError, match=r"^(is|was|uses|does) "):
                verify_message(MESSAGE, _armored(broken), NAMESPACE)
    with pytest.raises(ValueError, match="is damaged"):
        verify_message(MESSAGE, _armored(blob + b"\0"), NAMESPACE)


@pytest.mark.parametrize(
    "armored",
    [b"", bytes(64), b"\xff\xfe", BY_OPENSSH[:-30].encode(), BY_OPENSSH[5:].encode(), BY_OPENSSH.replace("U1", "U!").encode()],
)
def test_what_is_no_armored_signature_is_refused(armored: bytes) -> None:
    with pytest.raises(ValueError, match="is no SSH signature"):
        verify_message(MESSAGE, armored, NAMESPACE)


def test_base64_of_a_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="is damaged"):
        verify_message(MESSAGE, BY_OPENSSH.replace("U1", "U", 1).encode(), NAMESPACE)


def _armored(blob: bytes) -> bytes:
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(blob) + b"\n-----END SSH SIGNATURE-----\n"
