"""Damaged and hostile volumes of every format: each is one line that names the file, before memory is taken for what they claim.

Neighbours: cut short at every share, wrong and contradictory lengths, no numbers, 2 and 4 axes, colour, text, several files, bombs, names
and links that lead outside.
"""

from __future__ import annotations

import gzip
import os
import resource
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from angiosynth.data.nifti import load_volume
from angiosynth.errors import InputError
from tests.data.readers.test_formats_read import VALUES, WRITERS
from tests.factories import affine_of, nib
from tests.foreign import meta_header, nrrd_header, write_meta, write_nrrd, write_pair

AFFINE = affine_of()
NOISE = np.random.default_rng(1).integers(0, 900, (8, 8, 8)).astype("<i2")
MANY = 16 << 20
MOST_GROWN = 200 << 20


def meta(**changes: str | None) -> Callable[[Path], Path]:
    return lambda folder: write_meta(folder / "scan.mha", VALUES, AFFINE, False, **changes)


def nrrd(**changes: str | None) -> Callable[[Path], Path]:
    return lambda folder: write_nrrd(folder / "scan.nrrd", VALUES, AFFINE, False, **changes)


def pair(**fields: Any) -> Callable[[Path], Path]:
    return lambda folder: write_pair(folder / "scan.hdr", VALUES, AFFINE, **fields)


def detached(name: str, prepare: Callable[[Path], object] = lambda folder: None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        prepare(folder)
        (folder / "scan.mhd").write_bytes(meta_header(VALUES, AFFINE, name))
        return folder / "scan.mhd"

    return make


def detached_nrrd(name: str, prepare: Callable[[Path], object] = lambda folder: None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        prepare(folder)
        (folder / "scan.nhdr").write_bytes(nrrd_header(VALUES, AFFINE, name))
        return folder / "scan.nhdr"

    return make


def outside(folder: Path) -> None:
    (folder.parent / "elsewhere.raw").write_bytes(VALUES.tobytes(order="F"))
    (folder / "linked.raw").symlink_to(folder.parent / "elsewhere.raw")
    (folder / "up").symlink_to("..")


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def bomb(name: str, header: bytes, pack: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Packed when the test runs, since that takes longer than to import all of this."""
    return lambda folder: written(name, header + pack(bytes(MANY * 4)))(folder)


def lone_header(folder: Path) -> Path:
    path = write_pair(folder / "scan.hdr", VALUES, AFFINE)
    (folder / "scan.img").unlink()
    return path


def linked_image(folder: Path) -> Path:
    path = write_pair(folder / "scan.hdr", VALUES, AFFINE)
    (folder / "scan.img").rename(folder.parent / "scan.img")
    (folder / "scan.img").symlink_to(folder.parent / "scan.img")
    return path


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.raw")


BAD: dict[str, tuple[str, Callable[[Path], Path]]] = {
    # MetaImage
    "mha: more voxels than bytes": ("is cut short", meta(DimSize="3 4 500")),
    "mha: fewer voxels than bytes": ("is no MetaImage|holds more than", written("s.mha", meta_header(VALUES, AFFINE) + bytes(1 << 18))),
    "mha: 10^18 voxels": ("is cut short", meta(DimSize="32000 32000 32000")),
    "mha: an axis beyond NIfTI": ("axes of 1 to 32767", meta(DimSize="4000000000 4 5")),
    "mha: an empty axis": ("axes of 1 to 32767", meta(DimSize="3 0 5")),
    "mha: a negative axis": ("axes of 1 to 32767", meta(DimSize="3 -4 5")),
    "mha: half a voxel": ("whole numbers are needed", meta(DimSize="3 4.5 5")),
    "mha: words for lengths": ("numbers are needed", meta(DimSize="many more again")),
    "mha: a number without end": ("numbers are needed", meta(DimSize="9" * 30_000 + " 4 5")),
    "mha: two axes": ("has 2 axes", meta(NDims="2", DimSize="12 5", ElementSpacing="1 1", Offset="0 0", TransformMatrix="1 0 0 1")),
    "mha: four axes": ("has 4 axes", meta(NDims="4", DimSize="3 4 5 2")),
    "mha: axes that contradict": ("NDims is 4, and DimSize has 3", meta(NDims="4")),
    "mha: spacing NaN": ("ElementSpacing is 'nan", meta(ElementSpacing="nan 0.9 1.1")),
    "mha: spacing infinite": ("ElementSpacing is '1e999", meta(ElementSpacing="1e999 0.9 1.1")),
    "mha: spacing 0": ("zero or negative", meta(ElementSpacing="0 0.9 1.1")),
    "mha: spacing negative": ("zero or negative", meta(ElementSpacing="0.8 -0.9 1.1")),
    "mha: no spacing": ("has no voxel size", meta(ElementSpacing=None)),
    "mha: spacing in metres": ("which are no head's", meta(ElementSpacing="0.0008 0.0009 0.0011")),
    "mha: sheared": ("not at right angles", meta(TransformMatrix="1 0 0 0.2 1 0 0 0 1")),
    "mha: singular": ("zero or not a number|right angles", meta(TransformMatrix="1 0 0 1 0 0 0 0 1")),
    "mha: directions of zeros": ("zero or not a number", meta(TransformMatrix="0 0 0 0 0 0 0 0 0")),
    "mha: too few directions": ("9 numbers are needed", meta(TransformMatrix="1 0 0 1")),
    "mha: origin NaN": ("Offset is 'NaN", meta(Offset="NaN 0 0")),
    "mha: colour": ("has 3 channels", meta(ElementNumberOfChannels="3")),
    "mha: an array type": ("a plain number type is needed", meta(ElementType="MET_UCHAR_ARRAY")),
    "mha: text": ("as text", meta(BinaryData="False")),
    "mha: scaled": ("scales its voxels", meta(ElementToIntensityFunctionSlope="2")),
    "mha: tubes": ("holds 'Tube', no image", meta(ObjectType="Tube")),
    "mha: a field twice": ("has 'NDims' twice", written("s.mha", b"NDims = 3\n" + meta_header(VALUES, AFFINE))),
    "mha: no end": ("has no line ElementDataFile", written("s.mha", b"NDims = 3\n" * 3)),
    "mha: a header without end": ("has no line ElementDataFile", written("s.mha", b"Comment = " + b"x" * (1 << 20))),
    "mha: empty": ("is empty, 0 bytes", written("s.mha", b"")),
    "mha: NIfTI of that name": ("is no MetaImage", written("s.mha", nib.Nifti1Image(VALUES, AFFINE).to_bytes())),
    "mha: voxels before the file": ("HeaderSize is -5", meta(HeaderSize="-5")),
    "mha: a bomb": ("holds more than", bomb("s.mha", meta_header(VALUES, AFFINE, packed=True), zlib.compress)),
    "mha: damaged packing": ("damaged", written("s.mha", meta_header(VALUES, AFFINE, packed=True) + b"x\x9c" + bytes(80))),
    "mhd: the data file is missing": ("is missing|cannot be read", detached("none.raw")),
    "mhd: above": ("outside its folder", detached("../elsewhere.raw", outside)),
    "mhd: below and above": ("outside its folder", detached("a/../../elsewhere.raw", outside)),
    "mhd: the whole path": ("outside its folder", detached("/etc/passwd")),
    "mhd: the whole path of another system": ("outside its folder", detached("C:\\scan.raw")),
    "mhd: a link": ("outside its folder", detached("linked.raw", outside)),
    "mhd: by a linked folder": ("outside its folder", detached("up/elsewhere.raw", outside)),
    "mhd: no name": ("outside its folder", detached("")),
    "mhd: a NUL": ("outside its folder", detached("a\0b")),
    "mhd: itself": ("names itself", detached("scan.mhd")),
    "mhd: a folder": ("is a folder", detached("sub", lambda folder: (folder / "sub").mkdir())),
    "mhd: a pipe": ("is a pipe", detached("pipe.raw", pipe)),
    "mhd: several files": ("several files", detached("LIST")),
    "mhd: numbered files": ("several files", detached("slice%03d.raw 1 5 1")),
    # NRRD
    "nrrd: more voxels than bytes": ("is cut short", nrrd(sizes="3 4 500")),
    "nrrd: 10^13 voxels": ("is cut short", nrrd(sizes="32000 32000 32000")),
    "nrrd: two axes": ("has 2 axes", nrrd(dimension="2", sizes="12 5")),
    "nrrd: four axes": ("has 4 axes", nrrd(dimension="4", sizes="3 4 5 2")),
    "nrrd: axes that contradict": ("dimension is 4", nrrd(dimension="4")),
    "nrrd: colour": ("has 4 axes", nrrd(dimension="4", sizes="3 3 4 5", kinds="RGB-color domain domain domain")),
    "nrrd: spacing NaN": ("space directions is 'nan", nrrd(space_directions="(nan,0,0) (0,1,0) (0,0,1)")),
    "nrrd: spacing 0": ("zero or not a number", nrrd(space_directions="(0,0,0) (0,1,0) (0,0,1)")),
    "nrrd: sheared": ("not at right angles", nrrd(space_directions="(1,0,0) (0.2,1,0) (0,0,1)")),
    "nrrd: no directions": ("space directions are ''", nrrd(space_directions=None, spacings="1 1 1")),
    "nrrd: a direction of none": ("space directions are", nrrd(space_directions="none (0,1,0) (0,0,1)")),
    "nrrd: no space": ("it has no field space, so left and right are open", nrrd(space=None)),
    "nrrd: the scanner's space": ("its space is 'scanner-xyz'", nrrd(space="scanner-xyz")),
    "nrrd: metres": ('lengths are in "m"', nrrd(space_units='"m" "m" "m"')),
    "nrrd: origin NaN": ("space origin is 'nan", nrrd(space_origin="(nan,0,0)")),
    "nrrd: blocks": ("a plain number type is needed", nrrd(type="block")),
    "nrrd: no byte order": ("byte order", nrrd(endian=None)),
    "nrrd: text": ("encoding is 'ascii'", nrrd(encoding="ascii")),
    "nrrd: bzip2": ("encoding is 'bzip2'", nrrd(encoding="bzip2")),
    "nrrd: lines to skip": ("behind 2 lines", nrrd(line_skip="2")),
    "nrrd: bytes before the file": ("and -9 bytes", nrrd(byte_skip="-9")),
    "nrrd: a field twice": ("has 'sizes' twice", written("s.nrrd", b"NRRD0004\nsizes: 3 4 5\nsizes: 3 4 5\n\n")),
    "nrrd: no end": ("has no end", written("s.nrrd", b"NRRD0004\nsizes: 3 4 5\n")),
    "nrrd: another version": ("is no NRRD file", written("s.nrrd", b"NRRD0009\n\n")),
    "nrrd: a bomb": ("holds more than", bomb("s.nrrd", nrrd_header(VALUES, AFFINE, packed=True), gzip.compress)),
    "nrrd: no gzip": ("damaged", written("s.nrrd", nrrd_header(VALUES, AFFINE, packed=True) + VALUES.tobytes())),
    "nhdr: above": ("outside its folder", detached_nrrd("../elsewhere.raw", outside)),
    "nhdr: a link": ("outside its folder", detached_nrrd("linked.raw", outside)),
    "nhdr: a device": ("outside its folder", detached_nrrd("/dev/zero")),
    "nhdr: numbered files": ("several files", detached_nrrd("slice%03d.raw 1 5 1")),
    "nhdr: a list of files": ("several files", detached_nrrd("LIST")),
    # pairs
    "pair: more voxels than bytes": ("is cut short", pair(dim=[3, 3, 4, 500, 1, 1, 1, 1])),
    "pair: four axes": ("has 4 axes", pair(dim=[4, 3, 4, 5, 2, 1, 1, 1])),
    "pair: colour": ("plain numbers are needed", pair(datatype=128, bitpix=24)),
    "pair: spacing NaN": ("voxel size", pair(pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0])),
    "pair: spacing 0": ("voxel size", pair(pixdim=[1, 0, 1, 1, 0, 0, 0, 0])),
    "pair: an offset": ("is cut short", pair(vox_offset=1e6)),
    "pair: no image": ("scan.img is not beside it", lone_header),
    "pair: a linked image": ("leads outside its folder", linked_image),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_volumes_are_one_line(tmp_path: Path, case: str) -> None:
    text, make = BAD[case]
    (tmp_path / "lab").mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = make(tmp_path / "lab")
    with pytest.raises(InputError, match=text) as caught:
        load_volume(path)
    assert str(caught.value).startswith(str(tmp_path / "lab"))
    assert "\n" not in str(caught.value)
    assert "MUELLER" not in str(caught.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_GROWN


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_every_cut_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    """Of headers with another file for the voxels, and of a series, that file and one slice are cut."""
    path = WRITERS[name](tmp_path, NOISE, AFFINE)
    inside = sorted(path.iterdir()) if path.is_dir() else []
    beside = [file for file in tmp_path.iterdir() if file != path and file.is_file()]
    cut = (inside or beside or [path])[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError):
        load_volume(path)
    cut.write_bytes(whole)
    np.testing.assert_array_equal(load_volume(path).volume.array, NOISE)


@pytest.mark.parametrize("name", ["mha", "mhd", "nrrd", "nhdr packed", "pair", "dicom"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_a_volume_or_one_line(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = WRITERS[name](tmp_path, VALUES, AFFINE)
    file = sorted(path.iterdir())[0] if path.is_dir() else path
    whole = file.read_bytes()
    place, value = data.draw(st.integers(0, min(len(whole) - 1, 900))), data.draw(st.integers(0, 255))
    file.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
    # another error than InputError fails the test
    with suppress(InputError):
        assert load_volume(path).volume.array.ndim == 3
    file.write_bytes(whole)
