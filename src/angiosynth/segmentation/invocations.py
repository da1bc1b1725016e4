"""Requests to a served U-net: parse images from JSON, compute probabilities, write them as JSON. Only numbers are accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from angiosynth.runtime.service import RefusedError
from angiosynth.segmentation.prediction import VOXELS_AT_ONCE
from angiosynth.segmentation.serving import LIMIT, REFUSAL, Served
from angiosynth.segmentation.unet import SIDE_MULTIPLE

MOST_VOXELS = 1 << 21  # limit of a request: eight slices of 512x512; while JSON is parsed, a voxel takes 32 bytes
LEAST_SIDE, MOST_SIDE = 32, 1024  # pixels; an image is computed at once, and scanners' slices are at most half of the largest
SHAPE = '{"inputs": ...}, numbers nested as (n, 1, x, y), the sides x and y multiples of 16'
NUMBERS = b'0123456789+-.eE,[]{}: \t\r\n"'
NAMES = (b"inputs", b"instancs")  # the keys without the characters in NUMBERS
AT_ONCE = 16_384  # voxels of a chunk of the answer


def answer(served: Served, body: bytes | bytearray) -> Iterator[bytes]:
    """Answer a request; yields the JSON in chunks.

    Raises:
        RefusedError: the request is malformed or beyond the limits.
    """
    return as_json(probabilities(served, images_of(body)))


def images_of(body: bytes | bytearray) -> NDArray[np.float32]:
    """Parse the images (n, 1, x, y) of a request, {"inputs": ...} or {"instances": ...} as MLflow's clients send it.

    Raises:
        RefusedError: the request has another form, contains anything but numbers in [-1, 1], is ragged, or exceeds the limits.
    """
    # Checked before parsing: strings, true and null, NaN, escapes, other keys and duplicate keys all leave other letters or quotes.
    if body.translate(None, NUMBERS) not in NAMES or body.count(b'"') != 2:
        raise RefusedError(400, f"send {SHAPE}; {REFUSAL}")
    if body.count(b",") >= MOST_VOXELS:
        raise RefusedError(413, f"more than {MOST_VOXELS:,} voxels; send fewer images at a time")
    try:
        request: Any = json.loads(body)
        with np.errstate(over="ignore"):
            (values,) = request.values()
            images = np.array(values, np.float64).astype(np.float32)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RefusedError(400, f"no JSON, or ragged; send {SHAPE}") from error
    if (
        images.ndim != 4
        or images.shape[1] != 1
        or any(side % SIDE_MULTIPLE or not LEAST_SIDE <= side <= MOST_SIDE for side in images.shape[2:])
    ):
        raise RefusedError(400, f"the shape is {images.shape}; send {SHAPE}, each from {LEAST_SIDE} to {MOST_SIDE}")
    if not images.size or not (np.abs(images) <= np.float32(LIMIT)).all():
        raise RefusedError(400, REFUSAL)
    checked: NDArray[np.float32] = images
    return checked


@torch.no_grad()
def probabilities(served: Served, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute vessel probabilities (n, 1, x, y) of images of the same shape, in batches of bounded memory.

    A request of at most VOXELS_AT_ONCE voxels is one batch, so that the result equals the U-net's bit by bit. In several batches the last
    bits may differ, since the order of torch's sums depends on the number of images.

    Raises:
        RefusedError: a probability is not finite.
    """
    batch_size = max(1, VOXELS_AT_ONCE // (images.shape[2] * images.shape[3]))
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    answer = np.concatenate([served(torch.from_numpy(batch)).numpy() for batch in batches])
    if not np.isfinite(answer).all():
        raise RefusedError(500, "the model's answer is not finite; train it anew")
    return answer


def as_json(predictions: NDArray[np.float32]) -> Iterator[bytes]:
    """Write {"predictions": ...} in chunks of a bounded number of rows."""
    rows = max(1, AT_ONCE // predictions.shape[3])
    yield b'{"predictions": ['
    for number, image in enumerate(predictions[:, 0]):
        yield b", [[" if number else b"[["
        for start in range(0, len(image), rows):
            yield (b", " if start else b"") + json.dumps(image[start : start + rows].tolist())[1:-1].encode()
        yield b"]]"
    yield b"]}"
