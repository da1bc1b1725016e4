"""OpenSSH's signature format, as `ssh-keygen -Y sign` and `ssh-keygen -Y verify` write and read it, for ed25519 keys and SHA-512.

Source: PROTOCOL.sshsig in OpenSSH. A signature covers the hash of the message together with a namespace, so that a signature made for
another purpose with the same key is not valid here.

Written here since `cryptography` reads OpenSSH's keys but has no signatures, and the program is not on every machine.
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
LINE = 70  # characters, as ssh-keygen writes them


def sign_message(message: bytes, key: Ed25519PrivateKey, namespace: str) -> str:
    """Sign a message; the armored signature is the one that `ssh-keygen -Y sign -n NAMESPACE` makes, byte for byte."""
    purpose = namespace.encode()
    signature = _strings(KEY_TYPE, key.sign(_signed_data(message, purpose)))
    blob = MAGIC + struct.pack(">I", VERSION) + _strings(_key_blob(key.public_key()), purpose, b"", HASH_ALGORITHM, signature)
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join((BEGIN, *lines, END, ""))


def verify_message(message: bytes, armored: bytes, namespace: str) -> Ed25519PublicKey:
    """The public key that a message was signed by.

    The key comes from the signature itself: whether it is to be trusted remains to be checked.

    Args:
        message: the signed bytes.
        armored: the signature, as `sign_message` or ssh-keygen wrote it.
        namespace: the purpose that it must have been made for.

    Raises:
        ValueError: it is no such signature, has another namespace, hash or type of key, or does not fit the message. The text is a
            clause that says which, such as "is damaged".
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
    """A key's fingerprint as `ssh-keygen -l` shows it, SHA256:..."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_key_blob(key)).digest()).decode("ascii").rstrip("=")


def dearmored(armored: bytes) -> bytes:
    """The bytes within the armor.

    Raises:
        ValueError: it is no armored SSH signature.
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
    """The content of a blob (type, content), where the type is ssh-ed25519."""
    strings = _split(blob)
    if strings and strings[0] != KEY_TYPE:
        raise ValueError(f"is by a key of type {strings[0].decode('utf-8', 'replace')!r}, not ssh-ed25519")
    if len(strings) != 2 or len(strings[1]) != length:
        raise ValueError("is damaged")
    return strings[1]


def _strings(*parts: bytes) -> bytes:
    """SSH strings: each part behind its length, 32 bits, big-endian."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _split(blob: bytes) -> list[bytes]:
    """The SSH strings that a blob consists of."""
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
