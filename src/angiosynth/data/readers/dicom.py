"""Read the slices of a DICOM file: geometry, type and voxels. Names, dates, texts and private elements are never read.

A file contains one slice or, as an enhanced object, many frames. Source: DICOM PS3.3 (image plane and image pixel modules) and PS3.5
(transfer syntaxes).
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import data_element_generator

from angiosynth.data.decoding import RLE, decoded_frame, is_decoded
from angiosynth.data.formats import DICOM_MAGIC, DICOM_PREAMBLE, not_readable
from angiosynth.data.readers.frames import DCM2NIIX, frames_of
from angiosynth.data.stored import MOST_VOXELS
from angiosynth.errors import InputError
from angiosynth.reading import read_bytes

MOST_FILE = 1 << 29  # bytes; 512 frames of 512 x 512 voxels of 32 bits
MOST_RATIO = 64  # ratio of unpacked to packed bytes of RLE
# Transfer syntaxes of uncompressed voxels -> byte order.
PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
TRANSFER_SYNTAX = (0x0002, 0x0010)
FIELDS = (
    *("SeriesInstanceUID", "SeriesNumber", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class Slice:
    """Description of one slice. Coordinates are left-posterior-superior, as in DICOM.

    Attributes:
        path: the file.
        series: UID of the series.
        number: number of the series on the scanner, or None.
        shape: (columns, rows).
        dtype: data type of the stored numbers, including byte order.
        used_bits: significant bits of each number.
        rows_mm, columns_mm: (3,) vectors from a voxel to the next along a row and along a column.
        position_mm: (3,) centre of the first voxel.
        scaling: slope and intercept.
        sha256: digest of the file.
        frame, frames: index of the slice in the file, and number of slices in the file.
        syntax: transfer syntax of the voxels.
    """

    path: Path
    series: str
    number: int | None
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    used_bits: int
    rows_mm: tuple[float, float, float]
    columns_mm: tuple[float, float, float]
    position_mm: tuple[float, float, float]
    scaling: tuple[float, float]
    sha256: str
    frame: int = 0
    frames: int = 1
    syntax: str = ""


def read_slices(path: Path) -> list[Slice]:
    """Read the descriptions of the slices in a file: one, or those of an enhanced object.

    Raises:
        InputError: the file is damaged, contains no slices of grey values, or its compression is not supported.
    """
    with _quiet():
        return _slices_of(path)


def _slices_of(path: Path) -> list[Slice]:
    data = _bytes_of(path)
    syntax = _transfer_syntax(data, path)
    order = PLAIN.get(syntax, "<")
    header = _dataset(data, path, FIELDS)
    try:
        series, number = str(header["SeriesInstanceUID"].value), header.get("SeriesNumber")
        number = int(number) if number is not None and str(number).strip() else None
        columns, rows = int(header["Columns"].value), int(header["Rows"].value)
        allocated, stored = int(header["BitsAllocated"].value), int(header["BitsStored"].value)
        frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel", 1))
        signed, shades = int(header["PixelRepresentation"].value), str(header["PhotometricInterpretation"].value)
        high = int(header.get("HighBit", stored - 1))
    except Exception as error:  # pydicom raises various exceptions for a damaged element
        raise InputError(f"{path}: lacks what an image slice has, or is damaged; export the series again") from error
    places = frames_of(header, frames, path)
    if samples != 1 or shades != "MONOCHROME2":
        raise InputError(f"{path}: is a picture in colours or inverted, not grey values of a scan; export the series itself")
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated or high != stored - 1 or signed not in (0, 1):
        raise InputError(f"{path}: has voxels of {stored} in {allocated} bits, 8, 16 or 32 are read; {DCM2NIIX}")
    most = len(data) if syntax in PLAIN else MOST_RATIO * len(data) if syntax == RLE else MOST_VOXELS
    if not (rows > 0 and columns > 0 and frames * rows * columns * allocated // 8 <= most):
        raise InputError(f"{path}: is cut short, {len(data)} bytes for {columns} x {rows} voxels; copy it again")
    dtype = np.dtype(f"{order}{'i' if signed else 'u'}{allocated // 8}")
    digest = hashlib.sha256(data).hexdigest()
    fixed = (path, series, number, (columns, rows), dtype, stored)
    return [Slice(*fixed, *_plane(place, path), _scaling(place, path), digest, frame, frames, syntax) for frame, place in enumerate(places)]


def read_voxels(slices: Sequence[Slice]) -> NDArray[Any]:
    """Read the stored numbers of slices of one file, (slices, columns * rows) with the column index fastest, little-endian.

    Raises:
        InputError: the file has changed since `read_slices`, has fewer or more bytes of voxels than declared, or cannot be decoded.
    """
    first = slices[0]
    data = _bytes_of(first.path)
    if hashlib.sha256(data).hexdigest() != first.sha256:
        raise InputError(f"{first.path}: was changed while it was read; run again")
    with _quiet():
        voxels = _dataset(data, first.path, ("PixelData",)).get("PixelData")
        length = first.shape[0] * first.shape[1] * first.dtype.itemsize
        if not isinstance(voxels, bytes):
            raise InputError(f"{first.path}: has 0 bytes of voxels instead of {length * first.frames}; copy it again")
        frames = [_plain_frame(voxels, plane, length) if plane.syntax in PLAIN else _decoded(voxels, plane, length) for plane in slices]
    array = np.stack([np.frombuffer(frame, first.dtype) for frame in frames]).astype(first.dtype.newbyteorder("<"))
    unused = 8 * first.dtype.itemsize - first.used_bits
    # Old scanners store overlays in the unused high bits. Shifting left and right clears them and extends the sign.
    return array << unused >> unused if unused else array


def _plain_frame(voxels: bytes, plane: Slice, length: int) -> bytes:
    expected = length * plane.frames
    # An odd number of bytes is padded by one.
    if not expected <= len(voxels) <= expected + 1:
        raise InputError(f"{plane.path}: has {len(voxels)} bytes of voxels instead of {expected}; copy it again")
    return voxels[plane.frame * length : (plane.frame + 1) * length]


def _decoded(voxels: bytes, plane: Slice, length: int) -> bytes:
    signed, bits = plane.dtype.kind == "i", (8 * plane.dtype.itemsize, plane.used_bits)
    try:
        frame = decoded_frame(voxels, plane.syntax, (plane.frame, plane.frames), plane.shape, bits, signed)
    except Exception as error:  # decoders raise various exceptions for damaged data
        raise InputError(f"{plane.path}: its compressed voxels are damaged or not as declared; {DCM2NIIX}") from error
    if len(frame) != length:
        raise InputError(f"{plane.path}: has {len(frame)} bytes of voxels instead of {length}; copy it again")
    return frame


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress pydicom's warnings and log, which quote values of elements, within this context."""
    log = logging.getLogger("pydicom")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _bytes_of(path: Path) -> bytes:
    try:
        data = read_bytes(path, MOST_FILE)
    except OSError as error:
        raise InputError(f"{path}: {not_readable(path, error)}") from error
    if data[DICOM_PREAMBLE : DICOM_PREAMBLE + len(DICOM_MAGIC)] != DICOM_MAGIC:
        raise InputError(f"{path}: is no DICOM file; copy it again")
    return data


def _transfer_syntax(data: bytes, path: Path) -> str:
    """Read the transfer syntax before anything else: some syntaxes compress the whole file, which pydicom would unpack without a limit."""
    stream = io.BytesIO(data)
    stream.seek(DICOM_PREAMBLE + len(DICOM_MAGIC))
    try:
        meta = data_element_generator(stream, False, True, stop_when=lambda tag, vr, length: tag.group != TRANSFER_SYNTAX[0])
        value = next(bytes(element.value or b"") for element in meta if element.tag == TRANSFER_SYNTAX)
    except Exception as error:  # pydicom raises various exceptions for a damaged file
        raise InputError(f"{path}: damaged DICOM file; export the series again") from error
    syntax = value.decode("ascii", "replace").rstrip("\0 ")
    if syntax not in PLAIN and not is_decoded(syntax):
        cure = f"{DCM2NIIX}, write it plain with gdcmconv --raw, or for lossless JPEG pip install pylibjpeg pylibjpeg-openjpeg pyjpegls"
        raise InputError(f"{path}: its voxels are compressed ({syntax[:64]}); {cure}")
    return syntax


def _dataset(data: bytes, path: Path, fields: tuple[str, ...]) -> Any:
    """Parse only the elements with these names."""
    try:
        return pydicom.dcmread(io.BytesIO(data), specific_tags=list(fields))
    except Exception as error:  # pydicom raises various exceptions for a damaged file
        raise InputError(f"{path}: damaged DICOM file; export the series again") from error


def _plane(header: Any, path: Path) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]:
    """Vectors from a voxel to the next along a row and along a column, and the position of the first voxel, in mm."""
    try:
        directions = np.array([float(number) for number in header["ImageOrientationPatient"].value]).reshape(2, 3)
        between_rows, between_columns = (float(number) for number in header["PixelSpacing"].value)
        x, y, z = (float(number) for number in header["ImagePositionPatient"].value)
    except Exception as error:
        raise InputError(f"{path}: does not say where it lies (orientation, position, voxel size); {DCM2NIIX}") from error
    if not np.isfinite([*directions.ravel(), between_rows, between_columns, x, y, z]).all() or min(between_rows, between_columns) <= 0:
        raise InputError(f"{path}: voxel size or position is zero or not a number; export the series again")
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > 1e-3:
        raise InputError(f"{path}: its directions are not of length 1; export the series again")
    (a, b, c), (d, e, f) = directions[0] * between_columns, directions[1] * between_rows
    return (float(a), float(b), float(c)), (float(d), float(e), float(f)), (x, y, z)


def _scaling(header: Any, path: Path) -> tuple[float, float]:
    try:
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    except Exception as error:
        raise InputError(f"{path}: its rescale slope or intercept is not a number; export the series again") from error
    if not (np.isfinite([slope, intercept]).all() and slope):
        raise InputError(f"{path}: its rescale slope or intercept is zero or not a number; export the series again")
    return slope, intercept
