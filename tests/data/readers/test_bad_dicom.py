"""DICOM series that lack a slice, hold two at one place, lie, are compressed or cut short: each is one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from angiosynth.data.nifti import load_volume
from angiosynth.errors import InputError
from tests.data.readers.test_bad_formats import AFFINE, NOISE
from tests.data.readers.test_formats_read import VALUES
from tests.factories import Array
from tests.foreign import write_series


def series(change: Callable[[Any, int], object], array: Array = VALUES) -> Callable[[Path], Path]:
    return lambda folder: write_series(folder / "series", array, AFFINE, change=change)


def setting(only: int | None = None, **fields: Any) -> Callable[[Path], Path]:
    """Elements of all slices, or of the one at this place; None removes one."""

    def change(one: Any, k: int) -> None:
        for name, value in fields.items() if only in (None, k) else ():
            delattr(one, name) if value is None else setattr(one, name, value)

    return series(change)


def colours(folder: Path) -> Path:
    def change(one: Any, k: int) -> None:
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0

    return series(change)(folder)


def shifted(one: Any, k: int) -> None:
    one.ImagePositionPatient = [one.ImagePositionPatient[0] + 0.5 * k, *one.ImagePositionPatient[1:]]


def away(places: dict[int, int]) -> Callable[[Any, int], None]:
    """Slices put elsewhere, so that a gap or two at one place result."""

    def change(one: Any, k: int) -> None:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, z + 1.1 * (places.get(k, k) - k)]

    return change


def linked_slice(folder: Path) -> Path:
    path = write_series(folder / "series", VALUES, AFFINE)
    first = sorted(path.iterdir())[0]
    first.rename(folder / "slice")
    first.symlink_to(folder / "slice")
    return path


def one_slice(folder: Path) -> Path:
    return write_series(folder / "series", VALUES[:, :, :1], AFFINE)


def cut_slice(folder: Path) -> Path:
    path = write_series(folder / "series", NOISE, AFFINE)
    first = sorted(path.iterdir())[0]
    first.write_bytes(first.read_bytes()[:-20])
    return path


def control_character(folder: Path) -> Path:
    """A series number that is no number: pydicom writes none, so the file's bytes are changed."""
    path = setting(SeriesNumber=7777)(folder)
    for file in path.iterdir():
        data = file.read_bytes()
        assert data.count(b"7777") == 1
        file.write_bytes(data.replace(b"7777", b"\x01   "))
    return path


def deflated(folder: Path) -> Path:
    """The transfer syntax in which all elements are packed: 16 MB of zeros in 16 kB, to be refused before they are unpacked."""
    path = write_series(folder / "series", VALUES, AFFINE)
    for file in path.iterdir():
        data = file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20])
        file.write_bytes(data)
    return path


def nested(one: Any, k: int) -> None:
    """Sequences within sequences, deeper than Python follows."""
    inner = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([inner])
        inner = outer
    one.ReferencedImageSequence = Sequence([inner])
    one.Rows = 0


BAD: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "a slice is cut": ("damaged|cut short|bytes of voxels", cut_slice),
    "more rows than bytes": ("is cut short", setting(Rows=5000)),
    "rows beyond the bytes by one": ("bytes of voxels instead of|cut short", setting(Rows=5)),
    "fewer rows than bytes": ("bytes of voxels instead of", setting(Rows=2)),
    "no rows": ("is cut short", setting(Rows=0)),
    "spacing 0": ("zero or not a number", setting(PixelSpacing=[0, 1])),
    "spacing negative": ("zero or not a number", setting(PixelSpacing=[-1, 1])),
    "no spacing": ("does not say where it lies", setting(PixelSpacing=None)),
    "no position": ("does not say where it lies", setting(ImagePositionPatient=None)),
    "directions of another length": ("not of length 1", setting(ImageOrientationPatient=[2, 0, 0, 0, 1, 0])),
    "directions askew": ("not at right angles", setting(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0])),
    "one direction twice": ("not at right angles|lie at one place", setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
    "another plane": ("lies in another plane", setting(2, ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6])),
    "a tilted stack": ("not at right angles", series(shifted)),
    "a slice is missing": ("so some are missing", series(away({4: 5}))),
    "two at one place": ("two slices of one series lie at one place", series(away({4: 3}))),
    "one slice": ("holds one slice", one_slice),
    "slices of several sizes": ("of another size or type", setting(1, Rows=3, Columns=4)),
    "colour": ("is a picture in colours", colours),
    "inverted": ("inverted", setting(PhotometricInterpretation="MONOCHROME1")),
    "frames": ("holds 40 frames", setting(NumberOfFrames=40)),
    "12 bits allocated": ("8, 16 or 32 are read", setting(BitsAllocated=12, BitsStored=12, HighBit=11)),
    "high bits": ("8, 16 or 32 are read", setting(BitsStored=12, HighBit=15)),
    "slope 0": ("rescale slope", setting(RescaleSlope="0")),
    "no voxels": ("0 bytes of voxels", setting(PixelData=None)),
    "no series": ("lacks what an image slice has", setting(SeriesInstanceUID=None)),
    "a series number of a control character": ("lacks what an image slice has, or is damaged", control_character),
    "nested": ("cut short|damaged", series(nested)),
    "packed whole": ("compressed", deflated),
    "a link": ("leads outside", linked_slice),
    "a folder without slices": ("is a folder without DICOM slices", lambda folder: folder),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_series_are_one_line(tmp_path: Path, case: str) -> None:
    text, make = BAD[case]
    (tmp_path / "lab").mkdir()
    path = make(tmp_path / "lab")
    with pytest.raises(InputError, match=text) as caught:
        load_volume(path)
    assert str(caught.value).startswith(str(tmp_path / "lab"))
    assert "\n" not in str(caught.value)
    assert "MUELLER" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_values_that_are_no_uids_and_numbers_are_quoted_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_series(tmp_path / "s", VALUES, AFFINE)
    for file in path.iterdir():
        file.write_bytes(file.read_bytes().replace(b"1.2.3\0", b"MUELLE").replace(b"MUELLER^HANS", b"M\xff\xfeELLER\\ANS"))
    load_volume(path)
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.text) == ("", "", "")


def test_a_file_of_a_series_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    from angiosynth.data.readers.dicom import read_slices, read_voxels

    path = sorted(write_series(tmp_path / "s", VALUES, AFFINE).iterdir())[0]
    parts = read_slices(path)
    one = pydicom.dcmread(path)
    one.PixelData = bytes(len(one.PixelData))
    pydicom.dcmwrite(path, one)
    with pytest.raises(InputError, match="was changed while it was read"):
        read_voxels(parts)
