"""Broken variants of sound files, by their structure and by their bytes; each depends on the generator of random numbers alone."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np

NUMBERS = (0, 1, -1, 2, 127, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 10**15)
REALS = (0.0, -0.0, 1e-320, 1e-9, -1.0, 0.5, 1e9, 1e38, 3.5e38, 1e300, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    " ",
    "\0",
    "\ufeff",
    "a" * 5000,
    "../../etc/passwd",
    "\u202e",
    "sub-01",
    "[x]",
    "\x1b[31m",
    "nan",
    "1e999",
    "-1",
    "True",
    "ü" * 300,
)
JSON_TEXTS: tuple[str, ...] = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 5000,
    "9" * 300,
    '"\\ud800"',
    "[" * 500,
    "[" * 100_000,
    '{"a":' * 300,
)
JSON_TEXTS += ("null", "true", "[]", "{}", '""', "0", "-0.0", '{"a": 1, "a": 2}', "1" + "0" * 41, "[" * 40 + "]" * 40)
YAML_TEXTS: tuple[str, ...] = (
    "!!int x",
    "!!float y",
    "!!bool maybe",
    "!!timestamp soon",
    "2024-99-99",
    "1e999",
    ".inf",
    ".nan",
    "9" * 5000,
    "[" * 300,
    "1:" * 60 + "1",
)
YAML_TEXTS += (
    "&a [*a]",
    "*nothing",
    "{<<: 3}",
    "!!python/object:os.system x",
    "!!binary é",
    "? a",
    "- - - -",
    "|",
    ">",
    "'",
    '"\\x',
    "%YAML 9",
    "---",
    "\t",
)
YAML_TEXTS += (
    "0x" + "f" * 300,
    "1_0",
    "~",
    "yes",
    "{a: 1, a: 2}",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "[a, b, c]",
    "{a: {b: {c: {d: 1}}}}",
    "\ud7ff",
    "\x85",
)
CELLS: tuple[str, ...] = (
    "",
    '"',
    '"a',
    "a,b",
    "\0",
    "\r",
    "\n",
    "=1+1",
    "1e999",
    "nan",
    "-inf",
    "9" * 5000,
    "x" * 140_000,
    ";",
    "\t",
    "\ufeff",
    "\udc80",
    ",,,,,,,,",
)


def broken_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to eight changes at random places: bits, numbers of any width, pieces left out, doubled, moved or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not out:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(64)))
        at, length = rng.randrange(len(out)), min(rng.choice((1, 2, 4, 16, 256, 4096)), len(out))
        change = rng.randrange(8)
        if change == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            out[at] = rng.randrange(256)
        elif change == 2:
            number = struct.pack(rng.choice("<>") + "q", rng.choice(NUMBERS[:14]))
            part = number[: rng.choice((1, 2, 4, 8))]
            out[at : at + len(part)] = part
        elif change == 3:
            del out[at : at + length]
        elif change == 4:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 50))
        elif change == 5:
            out[at:at] = bytes(rng.randrange(256) for _ in range(length))
        elif change == 6:
            del out[at:]
        else:
            out[at : at + length] = bytes(min(length, len(out) - at))
    return bytes(out[: 1 << 20])


def broken_nifti(data: bytes, rng: random.Random) -> bytes:
    """An unpacked NIfTI-1 file with fields of its header changed, its voxels cut or lengthened, packed or not, well or badly."""
    if rng.random() < 0.8:
        header = np.frombuffer(bytearray(data[:348]), nibabel.Nifti1Header.template_dtype).copy()
        for _ in range(rng.choice((1, 1, 2, 3))):
            field = rng.choice(header.dtype.names or ())
            kind = header[field].dtype
            flat = header[field].reshape(-1)
            if kind.kind in "iu":
                flat[rng.randrange(len(flat))] = np.array(rng.choice(NUMBERS)).astype(kind)
            elif kind.kind == "f":
                with np.errstate(over="ignore"):
                    flat[rng.randrange(len(flat))] = np.array(rng.choice(REALS)).astype(kind)
        data = header.tobytes() + data[348:]
    if rng.random() < 0.3:
        data = broken_bytes(data, rng)
    if rng.random() < 0.3:
        data += bytes(rng.choice((1, 1000, 70_000, 1 << 24)))
    return packed(data, rng) if rng.random() < 0.6 else data


def packed(data: bytes, rng: random.Random) -> bytes:
    """By gzip: in one part or many, with something behind, within or left out."""
    parts = [data]
    if rng.random() < 0.4:
        ends = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 3, 50))))
        parts = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    out = b"".join(gzip.compress(part, rng.choice((0, 1, 9)), mtime=0) for part in parts)
    change = rng.randrange(8)
    if change == 0:
        out = broken_bytes(out, rng)
    elif change == 1:
        out += rng.choice((b"\0" * 5000, b"garbage", gzip.compress(bytes(1 << 22)), gzip.compress(b"") * 3000))
    elif change == 2:
        out = out[:4] + bytes([0, 0, 0, 0]) + out[8:]
    elif change == 3:
        out = out[: rng.randrange(len(out) + 1)]
    return out


def broken_tree(tree: Any, rng: random.Random) -> Any:
    """JSON-like values with one or two of them replaced, removed or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2))):
        node: Any = tree
        while isinstance(node, (dict, list)) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.3:
                change = rng.randrange(6)
                if change == 0:
                    del node[key]
                elif change == 1 and isinstance(node, dict):
                    node[rng.choice(TEXTS)] = node.pop(key)
                else:
                    node[key] = rng.choice((*NUMBERS, *REALS, *TEXTS, None, True, False, [], {}, [[]], {"a": 1}))
                break
            node = node[key]
    return tree


def broken_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON file with values, pieces of its text, its encoding or its bytes changed."""
    text = json.dumps(broken_tree(json.loads(data), rng) if rng.random() < 0.7 else json.loads(data), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.4:
        places = [at for at, sign in enumerate(text) if sign in ":[,"] or [0]
        at = rng.choice(places) + 1
        text = text[:at] + " " + rng.choice(JSON_TEXTS) + text[text.find(",", at) if rng.random() < 0.7 else at :]
    return _encoded(text, rng)


def broken_yaml(data: bytes, rng: random.Random) -> bytes:
    """A settings file with values, lines, its encoding or its bytes changed."""
    lines = data.decode().split("\n")
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        change = rng.randrange(5)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif change == 2:
            lines[at] = " " * rng.randrange(6) + lines[at].strip()
        else:
            value = rng.choice((*YAML_TEXTS, *YAML_TEXTS, *map(str, NUMBERS), *map(repr, REALS), *TEXTS))
            lines[at] = f"{key}{colon or ':'} {value}"
        lines = lines or [""]
    return _encoded("\n".join(lines), rng)


def broken_table(data: bytes, rng: random.Random) -> bytes:
    """A CSV file with cells, lines, separators, its encoding or its bytes changed."""
    rows = [line.split(",") for line in data.decode().split("\n")]
    for _ in range(rng.choice((1, 1, 3))):
        row = rows[rng.randrange(len(rows))]
        row[rng.randrange(len(row))] = rng.choice((*CELLS, *map(str, NUMBERS), *map(str, REALS), *TEXTS))
        if rng.random() < 0.2 and sum(map(len, row)) < 2000:
            rows.append(row * rng.choice((1, 2, 3000)))
    separator = rng.choice((",", ",", ",", ";", "\t"))
    return _encoded(rng.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(row) for row in rows), rng)


def broken_archive(data: bytes, rng: random.Random) -> bytes:
    """A ZIP file with members changed, renamed, doubled, left out or packed otherwise, or with its bytes changed."""
    if rng.random() < 0.3:
        return broken_bytes(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        broken = rng.choice(old.namelist())
        for name in old.namelist():
            content, change = old.read(name), rng.randrange(8) if name == broken else -1
            if change == 0:
                continue
            if change == 1:
                name = rng.choice(("x", "../x", "a" * 300, name + ".npy"))
            elif change == 2:
                content += bytes(rng.choice((1, 1 << 16, 1 << 23)))
            elif change == 3:
                content = _other_shape(content, rng)
            elif 4 <= change < 8:
                content = broken_bytes(content, rng)
            new.writestr(name, content)
    return out.getvalue()


def broken_array(data: bytes, rng: random.Random) -> bytes:
    """An .npy file with another header, or with its bytes changed."""
    return _other_shape(data, rng) if rng.random() < 0.6 else broken_bytes(data, rng)


def _other_shape(content: bytes, rng: random.Random) -> bytes:
    if not content.startswith(b"\x93NUMPY"):
        return broken_bytes(content, rng)
    shape = rng.choice(
        (
            "(9223372036854775807,)",
            "(4294967296, 4294967296, 2)",
            "(-1, 16, 16)",
            "()",
            "(0, 16, 16)",
            "(10, 16)",
            "(" * 300,
            "x",
            "-" * 5000,
        )
    )
    descr = rng.choice(("'|u1'", "'|u1'", "'|O'", "'<f8'", "'|V9999999999'", "[('a', '|u1')]", "'|S0'", "'<M8[s]'"))
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice((False, True, 7))}, 'shape': {shape}, }}".encode()
    body = content[10 + struct.unpack("<H", content[8:10])[0] :]
    return b"\x93NUMPY" + rng.choice((b"\x01\x00", b"\x02\x00", b"\x09\x00")) + struct.pack("<H", len(text)) + text + body


def _encoded(text: str, rng: random.Random) -> bytes:
    encoding = rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1", "utf-32"))
    data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
    return broken_bytes(data, rng) if rng.random() < 0.25 else data


Mutation = Callable[[bytes, random.Random], bytes]
