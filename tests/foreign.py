"""Volumes in other formats than NIfTI, written by hand from their descriptions, a person's name wherever the format takes text."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID

from tests.factories import Array, affine_of, nib

PERSON = "MUELLER^HANS"
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
META_TYPES = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG_LONG", "f4": "FLOAT"}
META_TYPES |= {"u8": "ULONG_LONG", "f8": "DOUBLE"}
NRRD_TYPES = {"i1": "int8", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "i8": "longlong", "u8": "uint64"}
NRRD_TYPES |= {"f4": "float", "f8": "double"}


def stored_as(array: Array, orientation: str, affine: Array | None = None) -> tuple[Array, Array]:
    """A canonical array in another order of axes, with its affine towards right, anterior, superior."""
    canonical = nib.orientations.axcodes2ornt(("R", "A", "S"))
    turn = nib.orientations.ornt_transform(canonical, nib.orientations.axcodes2ornt(tuple(orientation)))
    affine = affine_of() if affine is None else affine
    return nib.orientations.apply_orientation(array, turn), affine @ nib.orientations.inv_ornt_aff(turn, array.shape)


def meta_header(array: Array, affine: Array, name: str = "LOCAL", packed: bool = False, **changes: str | None) -> bytes:
    """The text before the voxels; `changes` replace fields, None removes one. Types and byte order are the array's."""
    lps = TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    fields: dict[str, str | None] = {
        "ObjectType": "Image",
        "Comment": PERSON,
        "NDims": str(array.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(array.dtype.byteorder == ">"),
        "CompressedData": str(packed),
        "TransformMatrix": " ".join(map(repr, (lps[:3, :3] / spacing).T.ravel().tolist())),
        "Offset": " ".join(map(repr, lps[:3, 3].tolist())),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(map(repr, spacing.tolist())),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": f"MET_{META_TYPES[array.dtype.str[1:]]}",
        **changes,
        "ElementDataFile": name,
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None).encode()


def write_meta(path: Path, array: Array, affine: Array, packed: bool = False, **changes: str | None) -> Path:
    """.mha, or .mhd with its voxels in a .raw or .zraw beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = zlib.compress(array.tobytes(order="F")) if packed else array.tobytes(order="F")
    if packed:
        changes = {"CompressedDataSize": str(len(voxels)), **changes}
    if path.suffix.lower() == ".mha":
        path.write_bytes(meta_header(array, affine, "LOCAL", packed, **changes) + voxels)
        return path
    beside = path.with_suffix(".zraw" if packed else ".raw")
    beside.write_bytes(voxels)
    path.write_bytes(meta_header(array, affine, beside.name, packed, **changes))
    return path


def nrrd_header(array: Array, affine: Array, name: str = "", packed: bool = False, **changes: str | None) -> bytes:
    """The text before the voxels; keys of `changes` have _ for a space."""
    lps = TO_LPS @ affine
    vectors = " ".join(f"({','.join(map(repr, column))})" for column in lps[:3, :3].T.tolist())
    fields: dict[str, str | None] = {
        "content": PERSON,
        "type": NRRD_TYPES[array.dtype.str[1:]],
        "dimension": str(array.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": vectors,
        "kinds": " ".join(["domain"] * array.ndim),
        "endian": "big" if array.dtype.byteorder == ">" else "little",
        "encoding": "gzip" if packed else "raw",
        "space origin": f"({','.join(map(repr, lps[:3, 3].tolist()))})",
        "data file": name or None,
        **{key.replace("_", " "): value for key, value in changes.items()},
    }
    lines = [f"{key}: {value}\n" for key, value in fields.items() if value is not None]
    return "".join(["NRRD0004\n# written for a test\n", *lines, f"PatientName:={PERSON}\n", "\n"]).encode()


def write_nrrd(path: Path, array: Array, affine: Array, packed: bool = False, **changes: str | None) -> Path:
    """.nrrd, or .nhdr with its voxels in a .raw or .raw.gz beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = gzip.compress(array.tobytes(order="F")) if packed else array.tobytes(order="F")
    if path.suffix.lower() == ".nrrd":
        path.write_bytes(nrrd_header(array, affine, "", packed, **changes) + voxels)
        return path
    beside = path.with_suffix(".raw.gz" if packed else ".raw")
    beside.write_bytes(voxels)
    path.write_bytes(nrrd_header(array, affine, beside.name, packed, **changes))
    return path


def write_pair(path: Path, array: Array, affine: Array, *, packed: bool = False, **fields: Any) -> Path:
    """.hdr, with its voxels in an .img beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = nib.nifti1.Nifti1PairHeader(endianness=">" if array.dtype.byteorder == ">" else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header["descrip"] = PERSON.encode()
    for field, value in fields.items():
        header[field] = value
    pack = gzip.compress if packed else bytes
    ending = ".gz" if packed else ""
    path.with_name(f"{path.name}{ending}").write_bytes(pack(bytes(header.binaryblock)))
    path.with_suffix(f".img{ending}").write_bytes(pack(array.tobytes(order="F")))
    return path.with_name(f"{path.name}{ending}")


def slice_of(series: str, number: int | None, instance: int, plane: Array, affine: Array, k: int, syntax: str) -> FileDataset:
    """One slice, (columns, rows), of a volume with this affine."""
    lps = TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4")
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{instance}")
    meta.TransferSyntaxUID = UID(syntax)
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.PatientName, one.PatientID, one.PatientBirthDate = PERSON, PERSON, "19500101"
    one.SeriesDescription, one.Modality = f"TOF of {PERSON}", "MR"
    one.private_block(0x0029, PERSON, create=True).add_new(0x10, "LO", PERSON)
    one.SeriesInstanceUID, one.InstanceNumber = series, instance
    one.SeriesNumber = number
    one.Columns, one.Rows = plane.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = plane.dtype.itemsize * 8
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = bits, bits, bits - 1, int(plane.dtype.kind == "i")
    one.ImageOrientationPatient = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    one.PixelSpacing = [spacing[1], spacing[0]]
    one.ImagePositionPatient = (lps @ [0, 0, k, 1])[:3].tolist()
    one.PixelData = plane.tobytes(order="F") + b"\0" * (plane.nbytes % 2)
    return one


def write_enhanced(path: Path, array: Array, affine: Array, *, shuffle: int = 0, change: Any = None) -> Path:
    """One file with a frame for each slice, orientation and voxel size in the shared groups. `change` is called with the whole."""
    planes = [slice_of("1.2.3", 7, 1, array[:, :, k], affine, k, "1.2.840.10008.1.2.1") for k in range(array.shape[2])]
    order = np.random.default_rng(shuffle).permutation(len(planes)).tolist() if shuffle else list(range(len(planes)))
    whole, groups = planes[0], []
    for k in order:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = planes[k].ImagePositionPatient
        group.PlanePositionSequence = [position]
        groups.append(group)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = whole.ImageOrientationPatient, whole.PixelSpacing
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    voxels = b"".join(array[:, :, k].tobytes(order="F") for k in order)
    del whole.ImagePositionPatient, whole.ImageOrientationPatient, whole.PixelSpacing
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4.1")
    whole.NumberOfFrames, whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = len(planes), [shared], groups
    whole.PixelData = voxels + b"\0" * (len(voxels) % 2)
    whole["PixelData"].VR = "OW" if array.dtype.itemsize > 1 else "OB"
    if change is not None:
        change(whole)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, whole, enforce_file_format=True)
    return path.parent


def write_series(
    folder: Path, array: Array, affine: Array, *, number: int | None = 7, series: str = "1.2.3", change: Any = None, syntax: str = ""
) -> Path:
    """A folder of slices, their names in another order than their places. `change` is called with each slice and its place."""
    folder.mkdir(parents=True, exist_ok=True)
    syntax = syntax or ("1.2.840.10008.1.2.2" if array.dtype.byteorder == ">" else "1.2.840.10008.1.2.1")
    for k in range(array.shape[2]):
        one = slice_of(series, number, k + 1, array[:, :, k], affine, k, syntax)
        one["PixelData"].VR = "OW" if array.dtype.itemsize > 1 else "OB"
        if change is not None:
            change(one, k)
        pydicom.dcmwrite(folder / f"IM{(k * 7) % 101:03d}-{series[-1]}", one, enforce_file_format=True)
    return folder
