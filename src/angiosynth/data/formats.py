"""Recognise files in other formats than NIfTI, and state how to convert them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.reading import open_file

# Suffix of a file name -> name of the format.
OTHER_FORMATS = {
    ".dcm": "DICOM",
    ".ima": "DICOM",
    ".hdr": "Analyze or split NIfTI",
    ".img": "Analyze or split NIfTI",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer",
    ".mnc": "MINC",
    ".nii.bz2": "NIfTI packed by bzip2",
    ".nii.xz": "NIfTI packed by xz",
    ".nii.zst": "NIfTI packed by zstd",
    ".nii.zip": "NIfTI in a ZIP archive",
    ".zip": "a ZIP archive",
    ".tar": "a tar archive",
    ".tar.gz": "a tar archive",
    ".tgz": "a tar archive",
    ".7z": "a 7-Zip archive",
    ".seg.nrrd": "NRRD",
    ".hdr.gz": "Analyze or split NIfTI",
    ".img.gz": "Analyze or split NIfTI",
}
# Formats that `data.readers` reads, by the suffix of the file to name; its voxels may be in another file. Tubes are read only as labels.
READ = re.compile(r"\.(mha|mhd|nrrd|nhdr|tre|hdr(\.gz)?)$", re.IGNORECASE)
DATA_FILE = re.compile(r"\.(raw|zraw|img)(\.gz)?$", re.IGNORECASE)
TUBES = re.compile(r"\.tre$", re.IGNORECASE)
DICOM_PREAMBLE, DICOM_MAGIC = 128, b"DICM"
# Suffixes that programs add when they replace a file by a placeholder.
STAND_INS = {
    ".dvc": "a pointer of DVC",
    ".icloud": "a file that is in a cloud",
    ".part": "a download that has not ended",
    ".crdownload": "a download that has not ended",
    ".gpg": "encrypted",
    ".enc": "encrypted",
}
OTHER_FORMATS |= {f"{nifti}{ending}": kind for nifti in (".nii", ".nii.gz") for ending, kind in STAND_INS.items()}

CONVERT = "convert it to .nii or .nii.gz"
UNPACK = "unpack it to .nii or .nii.gz"
# First bytes of a file, format, remedy. Bytes are compared in lower case and without leading spaces.
BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS", "bring the file itself, `git lfs pull`"),
    (b"/annex/objects/", "a pointer of git-annex", "bring the file itself, `git annex get` or `datalad get`"),
    (b"../.git/annex/", "a pointer of git-annex", "bring the file itself, `git annex get` or `datalad get`"),
    (b"<!doctype html", "a page of the web", "download the file again, perhaps after a login"),
    (b"<html", "a page of the web", "download the file again, perhaps after a login"),
    (b"<?xml", "XML", "download the file again: it may be a server's message"),
    (b"{", "JSON or text", "download the file again: it may be a server's message"),
    (b"outs:", "a pointer of DVC", "bring the file itself, `dvc pull`"),
    (b"nrrd0", "NRRD", CONVERT),
    (b"objecttype", "MetaImage", CONVERT),
    (b"ndims", "MetaImage", CONVERT),
    (b"pk\x03\x04", "a ZIP archive", UNPACK),
    (b"bzh", "packed by bzip2", UNPACK),
    (b"\xfd7zxz", "packed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (b"rar!", "a RAR archive", UNPACK),
    (b"\x1f\x8b", "packed by gzip twice", UNPACK),
    (b"\x89hdf", "HDF5 or MINC", CONVERT),
    (b"cdf\x01", "MINC", CONVERT),
    (b"\x89png", "a PNG picture", "export the volume, not a picture of it"),
    (b"\xff\xd8\xff", "a JPEG picture", "export the volume, not a picture of it"),
    (b"%pdf", "a PDF", "export the volume"),
    (b"\x93numpy", "a numpy array", CONVERT),
)


def foreign_format(name: str) -> str:
    """Return the name of the format with the suffix of a file name; "" for an unknown suffix."""
    lowered = name.lower()
    return max(((len(ending), kind) for ending, kind in OTHER_FORMATS.items() if lowered.endswith(ending)), default=(0, ""))[1]


def without_ending(name: str) -> str:
    """Remove the suffix of NIfTI or another known format from a file name."""
    lowered = name.lower()
    endings = (".nii.gz", ".nii", ".tre", *sorted(OTHER_FORMATS, key=len, reverse=True))
    return name[: -len(next((ending for ending in endings if lowered.endswith(ending)), "")) or None]


def is_dicom(path: Path) -> bool:
    """Return whether a file begins like a DICOM file; False if it cannot be read, and for DICOMDIR, an index without image."""
    try:
        with open_file(path) as stream:
            return stream.read(DICOM_PREAMBLE + len(DICOM_MAGIC))[DICOM_PREAMBLE:] == DICOM_MAGIC and path.name.upper() != "DICOMDIR"
    except (InputError, OSError):
        return False


def not_nifti(data: bytes) -> str:
    """Explain why bytes are not a NIfTI file, and the remedy, such as "is empty, 0 bytes; copy or download it again"."""
    if not data:
        return "is empty, 0 bytes; copy or download it again"
    if not data.strip(b"\0"):
        return "holds nothing but zeros; copy or download it again"
    beginning = data[:512].lstrip(b" \t\r\n\xef\xbb\xbf").lower()
    for mark, kind, cure in BEGINNINGS:
        if beginning.startswith(mark):
            return f"is {kind}, not NIfTI; {cure}"
    if data[DICOM_PREAMBLE : DICOM_PREAMBLE + 4] == DICOM_MAGIC:
        return "is DICOM, not NIfTI; convert it with dcm2niix"
    if data[257:262] == b"ustar":
        return f"is a tar archive, not NIfTI; {UNPACK}"
    if data[344:348] == b"ni1\0" or data[4:8] == b"ni2\0":
        return "is the header of a NIfTI pair (.hdr and .img); convert it to one file"
    if data[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and data[344:348] == bytes(4):
        return "is Analyze 7.5, which does not tell left from right, not NIfTI; convert it to .nii or .nii.gz"
    return "not a NIfTI file (wrong magic bytes); convert it to .nii or .nii.gz"


def not_readable(path: Path, error: OSError) -> str:
    """Explain why a file cannot be read, for example because it is a broken link, and the remedy."""
    if path.is_symlink() and not path.exists():
        if "annex" in os.readlink(path):
            return "is a link of git-annex without its content; `git annex get` or `datalad get` fetches it"
        return f"cannot be read, it is a link that leads nowhere ({error.strerror}); bring what it names or remove it"
    return f"cannot be read ({error.strerror}); put the file there or remove what names it"
