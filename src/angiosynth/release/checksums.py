"""SHA256SUMS of a folder, as `sha256sum --check` reads it, and an ed25519 signature over it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from angiosynth.errors import InputError

SUMS, SIGNATURE, PUBLIC_KEY = "SHA256SUMS", "SHA256SUMS.sig", "signer.pub"
Key = TypeVar("Key", Ed25519PrivateKey, Ed25519PublicKey)
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_checksums(folder: Path) -> None:
    """List every file of the folder with its SHA-256, but for the list itself and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in {SUMS, SIGNATURE, PUBLIC_KEY})
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def sign(folder: Path, key: Path) -> None:
    """Sign SHA256SUMS; the signature (64 bytes) and the public key (one line, OpenSSH) go beside it.

    Args:
        folder: holds SHA256SUMS.
        key: an ed25519 private key without a passphrase, OpenSSH (`ssh-keygen -t ed25519`) or PEM.

    Raises:
        InputError: it is no such key.
    """
    private = _private_key(key)
    (folder / SIGNATURE).write_bytes(private.sign((folder / SUMS).read_bytes()))
    (folder / PUBLIC_KEY).write_bytes(private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")


def verify(folder: Path, trusted: Path | None) -> str:
    """Check a folder against its checksums, and its signature where there is one.

    Args:
        folder: a package.
        trusted: the signer's public key, got from the signer and not from the package. Without it a signature tells only that all
            belongs together, not whose it is.

    Returns:
        A line that tells what was checked.

    Raises:
        InputError: a file is missing, changed or not listed, or the signature is wrong or, with `trusted`, not there.
    """
    listed = _read(folder)
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            raise InputError(f"{path}: is missing, but {SUMS} lists it; get the package again")
        if _sha256(path) != digest:
            raise InputError(f"{path}: is not what {SUMS} tells; it was damaged or changed, get the package again")
    others = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {SUMS, SIGNATURE, PUBLIC_KEY}
    if strays := sorted(others - set(listed)):
        raise InputError(f"{folder / strays[0]}: is not in {SUMS}; take it out or get the package again")
    return f"{len(listed)} files are as {SUMS} tells, {_verify_signature(folder, trusted)}"


def _verify_signature(folder: Path, trusted: Path | None) -> str:
    signature = folder / SIGNATURE
    if not signature.is_file():
        if trusted is not None:
            raise InputError(f"{signature}: is missing, so the package is not signed; ask the sender for a signed one")
        return "not signed"
    public = _public_key(trusted or folder / PUBLIC_KEY)
    try:
        public.verify(signature.read_bytes(), (folder / SUMS).read_bytes())
    except InvalidSignature as error:
        raise InputError(
            f"{signature}: is not by {trusted or PUBLIC_KEY}; do not use the package before its sender has told why"
        ) from error
    return "signed by the trusted key" if trusted else f"signed by the key in {PUBLIC_KEY} (whose it is, --trusted-key would tell)"


def _read(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; name the folder of a package that `cli.py release` made") from error
    found = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None or PurePosixPath(match[2]).is_absolute() or ".." in PurePosixPath(match[2]).parts:
            raise InputError(f"{path}: a line is no checksum of a file within; get the package again")
        found[match[2]] = match[1]
    return found


def _private_key(path: Path) -> Ed25519PrivateKey:
    advice = "make one with `ssh-keygen -t ed25519 -N ''`"
    return _key(path, Ed25519PrivateKey, _load_private, "private key without a passphrase", advice)  # type: ignore[type-abstract]


def _public_key(path: Path) -> Ed25519PublicKey:
    advice = "it should be a line that begins with ssh-ed25519"
    return _key(path, Ed25519PublicKey, _load_public, "public key", advice)  # type: ignore[type-abstract]


def _load_private(data: bytes) -> object:
    return (load_ssh_private_key if b"OPENSSH" in data else load_pem_private_key)(data, password=None)


def _load_public(data: bytes) -> object:
    return (load_ssh_public_key if data.startswith(b"ssh-") else load_pem_public_key)(data)


def _key(path: Path, kind: type[Key], load: Callable[[bytes], object], what: str, advice: str) -> Key:
    """The ed25519 key of a file, OpenSSH or PEM; `what` it should be and what to do (`advice`) go into the error."""
    try:
        key = load(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a key file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no {what}; {advice}") from error
    if not isinstance(key, kind):
        raise InputError(f"{path}: not an ed25519 key; {advice}")
    return key


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
