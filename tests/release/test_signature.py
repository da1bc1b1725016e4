"""Whose a package is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from angiosynth.errors import InputError
from angiosynth.release.checksums import sign, verify, write_checksums


def _keys(folder: Path, name: str, form: PrivateFormat = PrivateFormat.OpenSSH) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / name, folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
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
    assert "signed by the key in signer.pub" in verify(folder, None)
    with pytest.raises(InputError, match="is not by"):
        verify(folder, _keys(tmp_path, "other")[1])


def test_checksums_written_anew_are_not_signed(folder: Path, tmp_path: Path) -> None:
    private, public = _keys(tmp_path, "mine")
    sign(folder, private)
    (folder / "a.txt").write_text("b")
    write_checksums(folder)
    with pytest.raises(InputError, match="is not by"):
        verify(folder, public)


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
