"""Decode compressed frames of DICOM files: RLE, and lossless JPEG if a decoder for pydicom is installed.

Lossy encodings are refused, since they change values. Decoders are native code that allocates memory by the size stated in the JPEG stream,
so this size is compared with that of the DICOM header first. Source: DICOM PS3.5 annex A.4; ITU-T T.81 B.2.2 (frame header), T.87
(JPEG-LS), T.800 A.5.1 (SIZ).
"""

from __future__ import annotations

from itertools import islice

from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

RLE = "1.2.840.10008.1.2.5"
JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80")  # lossless, of any predictor, JPEG-LS
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202")  # lossless alone, high throughput
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
NO_LENGTH = {0x01, *range(0xD0, 0xDA)}  # markers without a segment


def is_decoded(syntax: str) -> bool:
    """Return whether a decoder for the transfer syntax is installed."""
    return syntax in (RLE, *JPEG, *JPEG_2000) and get_decoder(UID(syntax)).is_available


def decoded_frame(data: bytes, syntax: str, place: tuple[int, int], shape: tuple[int, int], bits: tuple[int, int], signed: bool) -> bytes:
    """Decode one frame to little-endian numbers in row-major order.

    Args:
        data: the encapsulated frames.
        syntax: UID of the transfer syntax.
        place: index of the frame, and number of frames.
        shape: (columns, rows).
        bits: bits allocated and bits stored for a voxel.
        signed: whether the numbers are signed.

    Raises:
        ValueError: the stream states another size, or has fewer frames. Decoders raise other exceptions for damaged data.
    """
    frame = next(islice(generate_frames(data, number_of_frames=place[1]), place[0], None))
    if syntax != RLE and (size := stated_size(frame)) != shape:
        raise ValueError(f"a frame of {size}")
    decoded, _ = get_decoder(UID(syntax)).as_buffer(
        data,
        index=place[0],
        number_of_frames=place[1],
        columns=shape[0],
        rows=shape[1],
        bits_allocated=bits[0],
        bits_stored=bits[1],
        pixel_representation=int(signed),
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        pixel_keyword="PixelData",
    )
    return bytes(decoded)


def stated_size(stream: bytes) -> tuple[int, int]:
    """Return the size (columns, rows) in the header of a JPEG, JPEG-LS or JPEG 2000 stream.

    Raises:
        ValueError: the stream has no such header.
    """
    # JPEG 2000: the SIZ segment follows the start of the codestream
    if stream[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = (int.from_bytes(stream[start : start + 4]) for start in (8, 12, 16, 20))
        return right - left, bottom - top
    # JPEG and JPEG-LS: walk from segment to segment until the frame header
    place = 2
    while stream[:2] == b"\xff\xd8" and place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in START_OF_FRAME:
            return int.from_bytes(stream[place + 7 : place + 9]), int.from_bytes(stream[place + 5 : place + 7])
        place += 2 if marker in NO_LENGTH else 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4])
    raise ValueError("no size")
