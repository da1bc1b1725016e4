"""Files that are no NIfTI: what they are called, and what to do.

Neighbours tried: empty and zeroed files, pointers of four programs, pages and messages of servers, archives, pictures, other image formats,
each plain and packed by gzip; links that lead nowhere.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from angiosynth.data.nifti import load_volume
from angiosynth.errors import InputError

CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty, 0 bytes; copy or download it again"),
    "zeros": (bytes(2000), "nothing but zeros"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS, not NIfTI; .*git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s9--00.nii.gz\n", "git-annex, not NIfTI; .*datalad get"),
    "dvc": (b"outs:\n- md5: 00\n  path: scan.nii.gz\n", "pointer of DVC"),
    "page": (b"\n <!DOCTYPE html><title>Login</title>", "page of the web, not NIfTI; download"),
    "page in capitals": (b"<HTML><body>", "page of the web"),
    "message": (b'{"message": "Not found"}', "JSON or text"),
    "xml": (b"<?xml version='1.0'?><Error/>", "XML"),
    "zip": (b"PK\x03\x04" + bytes(400), "ZIP archive, not NIfTI; unpack"),
    "tar": (b"scan.nii".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "tar archive"),
    "bzip2": (b"BZh91AY&SY" + bytes(9), "bzip2"),
    "dicom": (bytes(128) + b"DICM" + bytes(300), "is DICOM, not NIfTI; convert it with dcm2niix"),
    "nrrd": (b"NRRD0004\ntype: short\n", "NRRD, not NIfTI; convert"),
    "metaimage": (b"ObjectType = Image\n", "MetaImage"),
    "analyze": (b"\x5c\x01\x00\x00".ljust(348, b"\0"), "Analyze 7.5"),
    "pair": (b"\x5c\x01\x00\x00".ljust(344, b"\0") + b"ni1\0", "NIfTI pair"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(400), "PNG picture"),
    "anything": (b"no image at all" * 50, "not a NIfTI file"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_is_called_what_it_is(tmp_path: Path, name: str, packed: bool) -> None:
    content, told = CONTENTS[name]
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=told) as caught:
        load_volume(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


LINKS = {".git/annex/objects/00/x.nii.gz": "git annex get", "gone.nii.gz": "leads nowhere", "scan.nii.gz": "cannot be read"}


@pytest.mark.parametrize(("target", "told"), LINKS.items())
def test_a_link_without_its_file(tmp_path: Path, target: str, told: str) -> None:
    path = tmp_path / "scan.nii.gz"
    path.symlink_to(target)
    with pytest.raises(InputError, match=told):
        load_volume(path)
