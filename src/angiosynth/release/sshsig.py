"""Signature format of OpenSSH (`ssh-keygen -Y sign`, `ssh-keygen -Y verify`) for ed25519 keys and SHA-512.

Source: PROTOCOL.sshsig of OpenSSH. A signature covers the hash of the message together with a namespace, so that a signature made with the
same key for another purpose is invalid here.

Implemented here because `cryptography` reads keys of OpenSSH but has no such signatures, and ssh-keygen is not installed on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAGIC, VERSION = b"SSHSIG", 1
KEY_TYPE, HASH_ALGORITHM = b"ssh-ed25519", b"sha512"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
ARMOR = re.compile(rf"{BEGIN}\r?\n([A-Za-z0-9+/=\r\n]+){END}\s*")
LINE = 70  # characters per line, as in ssh-keygen


def sign_message(message: bytes, key: Ed25519PrivateKey, namespace: str) -> str:
    """Sign a message; the armored signature is identical to that of `ssh-keygen -Y sign -n NAMESPACE`."""
    purpose = namespace.encode()
    signature = _strings(KEY_TYPE, key.sign(_signed_data(message, purpose)))
    blob = MAGIC + struct.pack(">I", VERSION) + _strings(_key_blob(key.public_key()), purpose, b"", HASH_ALGORITHM, signature)
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join((BEGIN, *lines, END, ""))


def verify_message(message: bytes, armored: bytes, namespace: str) -> Ed25519PublicKey:
    """Verify a signature and return the public key of the signer.

    The key is part of the signature; the caller must check whether it is trusted.

    Args:
        message: the signed bytes.
        armored: signature of `sign_message` or ssh-keygen.
        namespace: required namespace of the signature.

    Raises:
        ValueError: it is not such a signature, has another namespace, hash or key type, or does not match the message. The message is a
            clause such as "is damaged".
    """
    key_blob, purpose, _, hash_algorithm, signature = _fields_of(dearmored(armored))
    if purpose != namespace.encode():
        raise ValueError(f"was made for the namespace {purpose.decode('utf-8', 'replace')!r}, not for {namespace!r}")
    if hash_algorithm != HASH_ALGORITHM:
        raise ValueError(f"uses the hash {hash_algorithm.decode('utf-8', 'replace')!r}, not sha512")
    public = _typed(key_blob, KEY_BYTES)
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(_typed(signature, SIGNATURE_BYTES), _signed_data(message, purpose))
    except InvalidSignature as error:
        raise ValueError("does not fit what it signs") from error
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the fingerprint of a key, SHA256:..., as shown by `ssh-keygen -l`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_key_blob(key)).digest()).decode("ascii").rstrip("=")


def dearmored(armored: bytes) -> bytes:
    """Decode an armored signature.

    Raises:
        ValueError: it is not an armored SSH signature.
    """
    match = ARMOR.fullmatch(armored.decode("ascii", "replace"))
    if match is None:
        raise ValueError("is no SSH signature")
    try:
        return base64.b64decode("".join(match[1].split()), validate=True)
    except ValueError as error:
        raise ValueError("is damaged") from error


def _fields_of(blob: bytes) -> list[bytes]:
    """Public key, namespace, reserved, hash algorithm, signature."""
    start = len(MAGIC) + 4
    if blob[:start] != MAGIC + struct.pack(">I", VERSION):
        raise ValueError("is no SSH signature of version 1")
    fields = _split(blob[start:])
    if len(fields) != 5:
        raise ValueError("is damaged")
    return fields


def _signed_data(message: bytes, namespace: bytes) -> bytes:
    return MAGIC + _strings(namespace, b"", HASH_ALGORITHM, hashlib.sha512(message).digest())


def _key_blob(key: Ed25519PublicKey) -> bytes:
    return _strings(KEY_TYPE, key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _typed(blob: bytes, length: int) -> bytes:
    """Content of a blob (type, content) whose type must be ssh-ed25519."""
    strings = _split(blob)
    if strings and strings[0] != KEY_TYPE:
        raise ValueError(f"is by a key of type {strings[0].decode('utf-8', 'replace')!r}, not ssh-ed25519")
    if len(strings) != 2 or len(strings[1]) != length:
        raise ValueError("is damaged")
    return strings[1]


def _strings(*contents: bytes) -> bytes:
    """SSH strings: each content is preceded by its length, 32 bits, big-endian."""
    return b"".join(struct.pack(">I", len(content)) + content for content in contents)


def _split(blob: bytes) -> list[bytes]:
    """Split a blob into its SSH strings."""
    strings: list[bytes] = []
    start = 0
    while start < len(blob):
        content = start + 4
        end = content + int.from_bytes(blob[start:content], "big")
        if not content <= end <= len(blob):
            raise ValueError("is damaged")
        strings.append(blob[content:end])
        start = end
    return strings
