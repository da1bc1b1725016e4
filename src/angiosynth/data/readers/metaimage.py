"""MetaImage (.mha, .mhd): lines `Key = value`; the last one, ElementDataFile, names the file of the voxels or announces them.

Source: documentation of MetaIO (itk.org, "MetaIO"). Coordinates are left, posterior, superior, as in ITK.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from angiosynth.data.readers.described import (
    LPS_TO_RAS,
    MOST_FIELDS,
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

TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    # A long of MetaIO has four bytes on every machine.
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
# Alternative names of a field in different versions of the format.
DIRECTIONS, ORIGINS = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")
BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
LAST_LINE = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", re.MULTILINE)
ATTACHED = "local"
SEVERAL = re.compile(r"list\b|.*%\d*d", re.IGNORECASE)
CONVERT = "write it anew with SimpleITK or 3D Slicer"


def describe_metaimage(path: Path) -> Described:
    """Read the header of a MetaImage.

    Raises:
        InputError: it is damaged or unsupported: several channels, voxels as text, several data files, no voxel size.
    """
    beginning = text_beginning(path)
    last = LAST_LINE.search(beginning)
    if last is None:
        raise InputError(f"{path}: is no MetaImage, it has no line ElementDataFile; copy it again or {CONVERT}")
    fields = meta_fields(beginning[: last.start()].decode("latin-1"), path)
    _refuse_others(fields, path)
    shape = three_axes(whole_numbers(fields.get("DimSize", ""), None, path, "DimSize"), path)
    axes = whole_numbers(fields.get("NDims", ""), 1, path, "NDims")[0]
    if axes != len(fields["DimSize"].split()):
        raise InputError(f"{path}: NDims is {axes}, and DimSize has {len(fields['DimSize'].split())} numbers; {CONVERT}")
    if fields.get("ElementType") not in TYPES:
        raise InputError(f"{path}: ElementType is {fields.get('ElementType', '')[:40]!r}, a plain number type is needed; {CONVERT}")
    big = any(_true(fields, name) for name in BIG_ENDIAN)
    dtype = np.dtype(TYPES[fields["ElementType"]]).newbyteorder(">" if big else "<")
    header = nifti_header(path, shape, dtype, *_grid(fields, axes, path))
    voxels = _voxels(path, fields, last[1].decode("latin-1").strip(), beginning[: last.end()], dtype)
    return Described(header, lambda: voxels.read(shape))


def meta_fields(text: str, path: Path) -> dict[str, str]:
    """Parse the fields of a MetaIO header. The text of comments and names is dropped.

    Raises:
        InputError: a line is not a field, or a field occurs twice.
    """
    fields: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        key, sign, value = (token.strip() for token in line.partition("="))
        if not sign or key in fields or len(fields) > MOST_FIELDS:
            reason = f"has {key[:40]!r} twice" if sign and key in fields else f"has a line without a field, {line[:40]!r}"
            raise InputError(f"{path}: damaged header, {reason}; copy it again or {CONVERT}")
        fields[key] = "" if key in ("Comment", "Name") else value
    return fields


def _refuse_others(fields: dict[str, str], path: Path) -> None:
    if fields.get("ObjectType", "Image") != "Image":
        raise InputError(f"{path}: holds {fields['ObjectType'][:40]!r}, no image; name an image")
    if fields.get("BinaryData", "True")[:1] not in "Tt1":
        raise InputError(f"{path}: holds its voxels as text; {CONVERT}")
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise InputError(f"{path}: has {channels[:10]} channels, like a colour picture; one grey value a voxel is needed, export the scan")
    scale = (fields.get("ElementToIntensityFunctionSlope", "1"), fields.get("ElementToIntensityFunctionOffset", "0"))
    if [real_numbers(text, 1, path, "ElementToIntensityFunction")[0] for text in scale] != [1.0, 0.0]:
        raise InputError(f"{path}: scales its voxels, which programs read differently; {CONVERT}")


def _grid(fields: dict[str, str], axes: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (3, 3) and origin (3,), right-anterior-superior. As in MetaIO they default to the identity directions and 0."""
    if "ElementSpacing" not in fields:
        raise InputError(f"{path}: has no voxel size, ElementSpacing; write it into the header")
    spacing = real_numbers(fields["ElementSpacing"], axes, path, "ElementSpacing")[:3]
    if min(spacing) <= 0:
        raise InputError(f"{path}: voxel size {spacing} is zero or negative; mend the header's ElementSpacing")
    matrix = next((real_numbers(fields[name], axes * axes, path, name) for name in DIRECTIONS if name in fields), None)
    origin = next((real_numbers(fields[name], axes, path, name) for name in ORIGINS if name in fields), [0.0] * axes)
    # The file lists the direction vectors of the axes one after the other, so they are the rows of the parsed matrix.
    directions = np.eye(3) if matrix is None else np.reshape(matrix, (axes, axes))[:3, :3].T
    return LPS_TO_RAS @ directions * spacing, LPS_TO_RAS @ np.array(origin[:3])


def _voxels(path: Path, fields: dict[str, str], name: str, header: bytes, dtype: np.dtype) -> RawVoxels:
    packed = _true(fields, "CompressedData")
    skipped = whole_numbers(fields.get("HeaderSize", "0"), 1, path, "HeaderSize")[0]
    if skipped < -1 or (packed and skipped):
        raise InputError(f"{path}: HeaderSize is {skipped}; {CONVERT}")
    offset = None if skipped == -1 else skipped
    if name.lower() == ATTACHED:
        return RawVoxels(path, dtype, len(header), "zlib" if packed else "none", offset)
    if SEVERAL.match(name):
        raise InputError(f"{path}: has its voxels in several files, {name[:60]!r}; {CONVERT}")
    return RawVoxels(companion(path, name), dtype, 0, "zlib" if packed else "none", offset, header)


def _true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "")[:1] in ("T", "t", "1")
