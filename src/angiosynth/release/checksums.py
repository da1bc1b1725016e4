"""SHA256SUMS of a folder, as `sha256sum --check` reads it, and an ed25519 signature over it."""

from __future__ import annotations

import os
import re
import stat
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
from angiosynth.reading import MOST_TEXT, file_digest, read_bytes, read_text, refuse_other_kinds
from angiosynth.runtime.progress import progress

SUMS, SIGNATURE, PUBLIC_KEY = "SHA256SUMS", "SHA256SUMS.sig", "signer.pub"
MOST_KEY = 64 * 1024  # bytes of a key or a signature
MOST_FILES, MOST_BYTES = 10_000, 8 << 30  # of a package; one of the paper's set has 25 files and a GB
Key = TypeVar("Key", Ed25519PrivateKey, Ed25519PublicKey)
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_checksums(folder: Path) -> None:
    """List every file of the folder with its SHA-256, but for the list itself and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in {SUMS, SIGNATURE, PUBLIC_KEY})
    lines = [f"{file_digest(path).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files]
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
    (folder / SIGNATURE).write_bytes(private.sign(read_bytes(folder / SUMS, MOST_TEXT)))
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
    there = _files_of(folder)
    for name in listed:
        if name not in there:
            raise InputError(f"{folder / name}: is missing, but {SUMS} lists it; get the package again")
    if strays := sorted(there - set(listed) - {SUMS, SIGNATURE, PUBLIC_KEY}):
        raise InputError(f"{folder / strays[0]}: is not in {SUMS}; take it out or get the package again")
    for name, digest in progress(listed.items(), f"checking {folder.name}", len(listed)):
        if file_digest(folder / name).hexdigest() != digest:
            raise InputError(f"{folder / name}: is not what {SUMS} tells; it was damaged or changed, get the package again")
    return f"{len(listed)} files are as {SUMS} tells, {_verify_signature(folder, trusted)}"


def _verify_signature(folder: Path, trusted: Path | None) -> str:
    signature = folder / SIGNATURE
    if not os.path.lexists(signature):
        if trusted is not None:
            raise InputError(f"{signature}: is missing, so the package is not signed; ask the sender for a signed one")
        return "not signed"
    public = _public_key(trusted or folder / PUBLIC_KEY)
    try:
        public.verify(read_bytes(signature, MOST_KEY), read_bytes(folder / SUMS, MOST_TEXT))
    except InvalidSignature as error:
        raise InputError(
            f"{signature}: is not by {trusted or PUBLIC_KEY}; do not use the package before its sender has told why"
        ) from error
    return "signed by the trusted key" if trusted else f"signed by the key in {PUBLIC_KEY} (whose it is, --trusted-key would tell)"


def _files_of(folder: Path) -> set[str]:
    """The names of a package's files, before one of them is opened.

    Raises:
        InputError: one is a link, a pipe or a device, there are more than MOST_FILES, or together they are larger than MOST_BYTES.
    """
    names: set[str] = set()
    whole = 0
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        for name in (*files, *folders):
            path = Path(place) / name
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                continue
            if stat.S_ISLNK(status.st_mode):
                raise InputError(f"{path}: is a link, and a package holds its files themselves; get the package again")
            refuse_other_kinds(path, status.st_mode)
            names.add(path.relative_to(folder).as_posix())
            whole += status.st_size
            if len(names) > MOST_FILES or whole > MOST_BYTES:
                raise InputError(f"{folder}: has more than {MOST_FILES:,} files or {MOST_BYTES / 1e9:.0f} GB; get the package again")
    return names


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions")


def _read(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; name the folder of a package that `cli.py release` made") from error
    found = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None or PurePosixPath(match[2]).is_absolute() or ".." in PurePosixPath(match[2]).parts:
            raise InputError(f"{path}: a line is no checksum of a file within; get the package again")
        if match[2] in found:
            raise InputError(f"{path}: lists {match[2]} twice; get the package again")
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
        key = load(read_bytes(path, MOST_KEY))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a key file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no {what}; {advice}") from error
    if not isinstance(key, kind):
        raise InputError(f"{path}: not an ed25519 key; {advice}")
    return key
