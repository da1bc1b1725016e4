"""NRRD (.nrrd, .nhdr): lines `field: value` up to an empty line, followed by the voxels unless a field names their file.

Source: "Definition of NRRD File Format", teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from angiosynth.data.readers.described import (
    LPS_TO_RAS,
    MOST_FIELDS,
    MOST_HEADER,
    Described,
    RawVoxels,
    companion,
    nifti_header,
    real_numbers,
    text_beginning,
    three_axes,
    whole_numbers,
)
from angiosynth.errors import InputError
from angiosynth.runtime.unpacking import Packing

NAMES_OF_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
TYPES = {name: kind for kind, names in NAMES_OF_TYPES.items() for name in names}
PACKINGS: dict[str, Packing] = {"raw": "none", "gzip": "gzip", "gz": "gzip"}
# Spaces with defined left and right -> matrix that converts them to right, anterior, superior.
SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), LPS_TO_RAS),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(3)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0])),
}
END = re.compile(rb"\r?\n\r?\n")
VECTOR = re.compile(r"\(([^()]*)\)|none", re.IGNORECASE)
CONVERT = "write it anew with SimpleITK or 3D Slicer"


def describe_nrrd(path: Path) -> Described:
    """Read the header of a NRRD file.

    Raises:
        InputError: it is damaged or unsupported: several values per voxel, voxels as text, several data files, a space without defined left
            and right.
    """
    beginning = text_beginning(path)
    end = END.search(beginning)
    header = beginning[: end.end()] if end else beginning
    fields = _fields(header.decode("latin-1"), path)
    name = fields.get("datafile", "")
    if end is None and (not name or len(beginning) == MOST_HEADER):
        raise InputError(f"{path}: damaged NRRD header, it has no end; copy it again or {CONVERT}")
    sizes = whole_numbers(fields.get("sizes", ""), None, path, "sizes")
    if whole_numbers(fields.get("dimension", ""), 1, path, "dimension")[0] != len(sizes):
        raise InputError(f"{path}: dimension is {fields['dimension'][:20]}, and sizes has {len(sizes)} numbers; {CONVERT}")
    shape = three_axes(sizes, path)
    dtype = _type(fields, path)
    described = nifti_header(path, shape, dtype, *_grid(fields, len(sizes), path))
    voxels = _voxels(path, fields, header, dtype)
    return Described(described, lambda: voxels.read(shape))


def _fields(text: str, path: Path) -> dict[str, str]:
    """Parse fields; names are converted to lower case without spaces. Comments and `key:=value` pairs, which are free text, are dropped."""
    magic, *lines = text.splitlines() or [""]
    if not re.fullmatch(r"NRRD000[1-5]", magic.strip()):
        raise InputError(f"{path}: is no NRRD file, it begins with {magic[:20]!r}; copy it again")
    fields: dict[str, str] = {}
    for line in lines[:MOST_FIELDS]:
        if not line.strip() or line.startswith("#") or ":=" in line:
            continue
        key, sign, value = line.partition(":")
        key = key.replace(" ", "").lower()
        if not sign or key in fields:
            reason = f"has {key[:40]!r} twice" if sign else f"has a line without a field, {line[:40]!r}"
            raise InputError(f"{path}: damaged NRRD header, {reason}; copy it again or {CONVERT}")
        fields[key] = value.strip()
    return fields


def _type(fields: dict[str, str], path: Path) -> np.dtype:
    kind = TYPES.get(fields.get("type", "").lower())
    if kind is None:
        raise InputError(f"{path}: its type is {fields.get('type', '')[:40]!r}, a plain number type is needed; {CONVERT}")
    order = fields.get("endian", "").lower()
    if order not in ("little", "big") and np.dtype(kind).itemsize > 1:
        raise InputError(f"{path}: does not say its byte order, endian; {CONVERT}")
    return np.dtype(kind).newbyteorder(">" if order == "big" else "<")


def _grid(fields: dict[str, str], axes: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (3, 3) and origin (3,), right-anterior-superior."""
    space = fields.get("space", "").lower()
    if space not in SPACES:
        reason = f"its space is {space[:40]!r}" if space else "it has no field space"
        raise InputError(f"{path}: {reason}, so left and right are open; write it in left-posterior-superior")
    if any(unit not in ("mm", "") for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))):
        raise InputError(f"{path}: lengths are in {fields['spaceunits'][:40]}; write the header in mm")
    vectors = [match[1] for match in VECTOR.finditer(fields.get("spacedirections", ""))]
    if len(vectors) != axes or None in vectors[:3]:
        raise InputError(f"{path}: space directions are {fields.get('spacedirections', '')[:60]!r}, one a space axis is needed; {CONVERT}")
    steps = np.array([_numbers(vector, path, "space directions") for vector in vectors[:3]]).T
    origin = VECTOR.fullmatch(fields.get("spaceorigin", "(0,0,0)"))
    first = np.array(_numbers(origin[1] if origin and origin[1] else "", path, "space origin"))
    return SPACES[space] @ steps, SPACES[space] @ first


def _numbers(text: str, path: Path, field: str) -> list[float]:
    return real_numbers(text.replace(",", " "), 3, path, field)


def _voxels(path: Path, fields: dict[str, str], header: bytes, dtype: np.dtype) -> RawVoxels:
    packing = PACKINGS.get(fields.get("encoding", "").lower())
    if packing is None:
        raise InputError(f"{path}: its encoding is {fields.get('encoding', '')[:20]!r}, raw and gzip are read; {CONVERT}")
    lines, skipped = (whole_numbers(fields.get(name, "0"), 1, path, name)[0] for name in ("lineskip", "byteskip"))
    if lines or skipped < -1 or (skipped and packing != "none"):
        raise InputError(f"{path}: has its voxels behind {lines} lines and {skipped} bytes of another header; {CONVERT}")
    offset = None if skipped == -1 else skipped
    name = fields.get("datafile", "")
    if not name:
        return RawVoxels(path, dtype, len(header), packing, offset)
    if re.match(r"LIST\b|.*%\d*d", name):
        raise InputError(f"{path}: has its voxels in several files, {name[:60]!r}; {CONVERT}")
    return RawVoxels(companion(path, name), dtype, 0, packing, offset, header)
