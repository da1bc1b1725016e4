"""Enhanced DICOM objects and compressed voxels: the same volume as the plain series of single slices, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from angiosynth.data import decoding
from angiosynth.data.decoding import is_decoded, stated_size
from angiosynth.data.nifti import load_volume
from angiosynth.errors import InputError
from tests.data.readers.test_bad_formats import AFFINE
from tests.data.readers.test_formats_read import SAMPLED, VALUES
from tests.foreign import stored_as, write_enhanced, write_series


def _same(ours: Path, plain: Path) -> None:
    wanted, loaded = load_volume(plain), load_volume(ours)
    np.testing.assert_array_equal(loaded.volume.array, wanted.volume.array)
    np.testing.assert_allclose(loaded.volume.affine, wanted.volume.affine, atol=1e-6)
    assert loaded.volume.array.any()


def compressing(syntax: UID) -> Callable[..., None]:
    return lambda one, *_: one.compress(syntax)


@pytest.mark.parametrize("orientation", SAMPLED)
def test_an_enhanced_object_is_the_series_of_its_slices(tmp_path: Path, orientation: str) -> None:
    stored, affine = stored_as(VALUES, orientation)
    _same(write_enhanced(tmp_path / "one" / "scan.dcm", stored, affine, shuffle=3), write_series(tmp_path / "many", stored, affine))


@pytest.mark.parametrize("kind", ["|u1", "<i2", "<u2"])
def test_rle_is_decoded(tmp_path: Path, kind: str) -> None:
    array = (VALUES + 7 if "u" in kind else VALUES).astype(kind)
    plain = write_series(tmp_path / "plain", array, AFFINE)
    _same(write_series(tmp_path / "packed", array, AFFINE, change=compressing(RLELossless)), plain)
    _same(write_enhanced(tmp_path / "one" / "scan.dcm", array, AFFINE, shuffle=1, change=compressing(RLELossless)), plain)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=["JPEG 2000", "JPEG-LS"])
def test_lossless_jpeg_is_decoded_where_it_can_be(tmp_path: Path, syntax: UID) -> None:
    if not (is_decoded(syntax) and get_encoder(syntax).is_available):
        pytest.skip("no decoder for it: pip install '.[dicom]'")
    array = np.random.default_rng(0).integers(0, 4000, (64, 72, 3)).astype("<u2")
    plain = write_series(tmp_path / "plain", array, AFFINE)
    _same(write_series(tmp_path / "packed", array, AFFINE, change=compressing(syntax)), plain)
    _same(write_enhanced(tmp_path / "one" / "scan.dcm", array, AFFINE, change=compressing(syntax)), plain)


def test_frames_with_scales_of_their_own(tmp_path: Path) -> None:
    def scaled(whole: Any) -> None:
        for number, group in enumerate(whole.PerFrameFunctionalGroupsSequence):
            values = Dataset()
            values.RescaleSlope, values.RescaleIntercept = str(number + 1), str(-number)
            group.PixelValueTransformationSequence = [values]

    def each(one: Any, k: int) -> None:
        one.RescaleSlope, one.RescaleIntercept = str(k + 1), str(-k)

    plain = write_series(tmp_path / "many", VALUES, AFFINE, change=each)
    _same(write_enhanced(tmp_path / "one" / "scan.dcm", VALUES, AFFINE, change=scaled), plain)


def test_bits_beyond_the_stored_ones_are_cleared(tmp_path: Path) -> None:
    array = np.abs(VALUES).astype("<u2")

    def overlaid(one: Any) -> None:
        one.BitsStored, one.HighBit = 12, 11
        one.PixelData = (np.frombuffer(one.PixelData, "<u2") | 0x8000).tobytes()

    plain = write_series(tmp_path / "plain", array, AFFINE)
    _same(write_enhanced(tmp_path / "one" / "scan.dcm", array, AFFINE, change=overlaid), plain)


def _without_places(whole: Any) -> None:
    del whole.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def _one_group_less(whole: Any) -> None:
    del whole.PerFrameFunctionalGroupsSequence[-1]


def _two_echoes(whole: Any) -> None:
    groups = whole.PerFrameFunctionalGroupsSequence
    for first, second in ((0, 1), (2, 3)):
        groups[second].PlanePositionSequence = groups[first].PlanePositionSequence


def _damaged(whole: Any) -> None:
    whole.compress(RLELossless)
    voxels = bytearray(whole.PixelData)
    voxels[voxels.index((2).to_bytes(4, "little"), 16)] = 99  # segments of the first frame
    whole.PixelData = bytes(voxels)


def _another_size(whole: Any) -> None:
    whole.compress(RLELossless)
    whole.Rows, whole.Columns = 2 * whole.Rows, 2 * whole.Columns


def _lossy(whole: Any) -> None:
    whole.compress(RLELossless)
    whole.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


def _named_jpeg(whole: Any) -> None:
    whole.compress(RLELossless)
    whole.file_meta.TransferSyntaxUID = JPEG2000Lossless


def _endless(whole: Any) -> None:
    whole.compress(RLELossless)
    whole.Rows = whole.Columns = 60_000


BAD: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a frame without a place": ("does not say where it lies", _without_places),
    "a group less than frames": ("frames in one file that do not say where they lie", _one_group_less),
    "two volumes": ("two slices of one series lie at one place", _two_echoes),
    "damaged RLE": ("compressed voxels are damaged|damaged DICOM", _damaged),
    "RLE of another size": ("compressed voxels are damaged|bytes of voxels instead", _another_size),
    "lossy": ("voxels are compressed .*dcm2niix", _lossy),
    "no JPEG in it": (r"voxels are compressed .*pip install pylibjpeg |compressed voxels are damaged", _named_jpeg),
    "more than it can hold": ("is cut short", _endless),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames_are_one_line(tmp_path: Path, case: str) -> None:
    text, change = BAD[case]
    folder = write_enhanced(tmp_path / "lab" / "scan.dcm", VALUES, AFFINE, change=change)
    with pytest.raises(InputError, match=text) as caught:
        load_volume(folder)
    assert str(caught.value).startswith(str(tmp_path / "lab"))
    assert "\n" not in str(caught.value)
    assert "MUELLER" not in str(caught.value)


def test_a_stream_of_another_size_never_reaches_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG-LS stream that states 65,000 x 65,000 in a file of 3 x 4."""
    stream = b"\xff\xd8\xff\xf7\x00\x0b\x10" + (65_000).to_bytes(2) * 2 + b"\x01\x01\x11\x00" + bytes(20)

    def packed(one: Any, k: int) -> None:
        one.PixelData = encapsulate([stream])
        one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
        one.file_meta.TransferSyntaxUID = JPEGLSLossless

    class Decoder:
        is_available = True

        def as_buffer(self, *words: Any, **named: Any) -> tuple[bytes, dict[str, int]]:
            raise AssertionError("called")

    monkeypatch.setattr(decoding, "get_decoder", lambda uid: Decoder())
    folder = write_series(tmp_path / "s", VALUES[:, :, :2], AFFINE, change=packed)
    with pytest.raises(InputError, match="compressed voxels are damaged or not as declared") as caught:
        load_volume(folder)
    assert "a frame of (65000, 65000)" in str(caught.value.__cause__)


STREAMS: list[tuple[bytes, tuple[int, int] | None]] = [
    (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10\x00\x05\x00\x07\x01", (7, 5)),
    (b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"".join(number.to_bytes(4) for number in (12, 11, 2, 1)), (10, 10)),
    (b"\xff\xd8\xff\xda\x00\x08", None),
    (b"\xff\xd8", None),
    (b"", None),
    (b"RIFF", None),
]


@pytest.mark.parametrize("case", range(len(STREAMS)))
def test_the_size_that_a_stream_states(case: int) -> None:
    stream, size = STREAMS[case]
    if size is None:
        with pytest.raises(ValueError, match="no size"):
            stated_size(stream)
    else:
        assert stated_size(stream) == size
