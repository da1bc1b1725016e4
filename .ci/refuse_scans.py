"""A hook for pre-commit: refuses scans and arrays of patients, by their names and by their first bytes, and files over 1 MB.

Usage: python .ci/refuse_scans.py FILE...; one line for each refused file, exit code 1 if there is one. Needs Python alone.
"""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path

LARGEST = 1_000_000  # bytes
HEAD = 544  # bytes in which every format below shows itself
NAMES = re.compile(
    r"\.(nii|hdr|img|dcm|dicom|ima|mha|mhd|nrrd|nhdr|mgh|mgz|mnc|par|rec|npy|npz|pt|pth|ckpt)(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE
)
DICOM_META = b"\x08\x00"  # group 0008, little endian, where a DICOM file has no preamble


def refusal(path: Path) -> str:
    """Why a file may not be committed, "" if it may."""
    if NAMES.search(path.name):
        return "is named like a scan, an array or weights"
    size = path.stat().st_size
    with path.open("rb") as stream:
        kind = image_format(unpacked(stream.read(8 * HEAD)))
    if kind:
        return f"holds {kind}, whatever its name"
    return f"has {size:,} bytes, more than {LARGEST:,}" if size > LARGEST else ""


def unpacked(head: bytes) -> bytes:
    """The first bytes of a file, of a gzip stream those that are packed in it."""
    if not head.startswith(b"\x1f\x8b"):
        return head[:HEAD]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b""


def image_format(head: bytes) -> str:
    """The format of medical images or arrays that begins so, "" for any other."""
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0") or head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c"):
        return "NIfTI or Analyze"
    if head[128:132] == b"DICM" or (head.startswith(DICOM_META) and head[4:6].isalpha()):
        return "DICOM"
    if head.startswith(b"NRRD0"):
        return "NRRD"
    if re.match(rb"\s*(Comment\s*=.*\s+)?(ObjectType\s*=\s*Image|NDims\s*=)", head):
        return "MetaImage"
    return "a NumPy array" if head.startswith(b"\x93NUMPY") else ""


def main(names: list[str]) -> int:
    """Print why files are refused; 1 if one is."""
    refused = [(name, reason) for name in names if Path(name).is_file() and (reason := refusal(Path(name)))]
    for name, reason in refused:
        sys.stderr.write(f"{name!r}: {reason}; patients' data stays out of git (`dvc add` keeps it)\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
