"""Signature of a package: SHA256SUMS.sig, which `ssh-keygen -Y verify` can verify too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from angiosynth.errors import InputError
from angiosynth.reading import MOST_TEXT, read_bytes
from angiosynth.release.formats import Format
from angiosynth.release.sshsig import dearmored, fingerprint, sign_message, verify_message

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "angiosynth-release"  # distinguishes signatures of packages from other signatures with the same key
# The decoded signature is searched for identifiers, since words in base64 would be coincidences.
FORMATS = {".sig": Format("text/plain", lambda armored: [dearmored(armored)])}
MOST_KEY = 64 * 1024  # bytes of a key or a signature
Key = TypeVar("Key", Ed25519PrivateKey, Ed25519PublicKey)


def sign(folder: Path, key: Path) -> None:
    """Write SHA256SUMS.sig, the signature of SHA256SUMS.

    Args:
        folder: folder that contains SHA256SUMS.
        key: file of an ed25519 private key without passphrase, OpenSSH (`ssh-keygen -t ed25519`) or PEM.

    Raises:
        InputError: the file is not such a key.
    """
    armored = sign_message(read_bytes(folder / SUMS, MOST_TEXT), _private_key(key), NAMESPACE)
    (folder / SIGNATURE).write_text(armored, encoding="ascii")


def verify_signature(folder: Path, trusted: Path | None) -> str:
    """Verify the signature of a package, if it has one.

    Args:
        folder: folder of the package.
        trusted: public key of the signer, obtained from the signer.

    Returns:
        A clause that states the signer.

    Raises:
        InputError: the signature is damaged, does not match SHA256SUMS, was made for another purpose or, with `trusted`, is missing or by
            another key.
    """
    path = folder / SIGNATURE
    if not os.path.lexists(path):
        if trusted is not None:
            raise InputError(f"{path}: is missing, so the package is not signed; ask the sender for a signed one")
        return "not signed"
    expected = _public_key(trusted) if trusted else None
    try:
        signer = verify_message(read_bytes(folder / SUMS, MOST_TEXT), read_bytes(path, MOST_KEY), NAMESPACE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions or get the package again") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}; do not use the package before its sender has explained it") from error
    if expected is None:
        return f"signed by the key {fingerprint(signer)} (name its owner's public key with --trusted-key to have that checked)"
    if signer != expected:
        raise InputError(
            f"{path}: is by the key {fingerprint(signer)}, not by {trusted}; do not use the package before its sender has explained it"
        )
    return "signed by the trusted key"


def _private_key(path: Path) -> Ed25519PrivateKey:
    advice = "make one with `ssh-keygen -t ed25519 -N ''`"
    return _read_key(path, Ed25519PrivateKey, _load_private, ("private key without a passphrase", advice))  # type: ignore[type-abstract]


def _public_key(path: Path) -> Ed25519PublicKey:
    advice = "it should be a line that begins with ssh-ed25519"
    return _read_key(path, Ed25519PublicKey, _load_public, ("public key", advice))  # type: ignore[type-abstract]


def _load_private(data: bytes) -> object:
    return (load_ssh_private_key if b"OPENSSH" in data else load_pem_private_key)(data, password=None)


def _load_public(data: bytes) -> object:
    return (load_ssh_public_key if data.startswith(b"ssh-") else load_pem_public_key)(data)


def _read_key(path: Path, kind: type[Key], load: Callable[[bytes], object], expected: tuple[str, str]) -> Key:
    """Read an ed25519 key, OpenSSH or PEM; `expected` contains its description and advice for the error message."""
    description, advice = expected
    try:
        key = load(read_bytes(path, MOST_KEY))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a key file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no {description}; {advice}") from error
    if not isinstance(key, kind):
        raise InputError(f"{path}: not an ed25519 key; {advice}")
    return key
