"""Requests to a served U-net: JSON to images, images to probabilities, these to JSON. Only numbers are accepted."""

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

MOST_VOXELS = 1 << 21  # of a request: eight slices of 512x512; read from JSON they take 32 bytes each for a moment
LEAST_SIDE, MOST_SIDE = 32, 1024  # an image of the largest is computed at once, and scanners give half of it
SHAPE = '{"inputs": ...}, numbers nested as (n, 1, x, y), the sides x and y multiples of 16'
NUMBERS = b'0123456789+-.eE,[]{}: \t\r\n"'
NAMES = (b"inputs", b"instancs")  # without the letters that numbers have too
AT_ONCE = 16_384  # voxels that are written as JSON in one go


def answer(served: Served, body: bytes | bytearray) -> Iterator[bytes]:
    """The chunks of the JSON that answers a request.

    Raises:
        RefusedError: the request is malformed or beyond the limits.
    """
    return as_json(probabilities(served, images_of(body)))


def images_of(body: bytes | bytearray) -> NDArray[np.float32]:
    """The images (n, 1, x, y) of a request, {"inputs": ...} or {"instances": ...} as MLflow's clients send it.

    Raises:
        RefusedError: it is something else, holds what is no number in [-1, 1], is ragged, or larger than the limits.
    """
    # Checked before it is parsed: strings, true and null, NaN, escapes, other keys and a key twice all leave other letters or quotes.
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
    """Probabilities of vessel (n, 1, x, y) for images of the same shape, computed in batches of bounded memory.

    Requests within the limit are computed in one batch, so that the answer equals the U-net's to the last bit. In several batches the last
    bits may differ, since the order of torch's sums depends on the number of images.
    """
    fitting = max(1, VOXELS_AT_ONCE // (images.shape[2] * images.shape[3]))
    parts = [images[start : start + fitting] for start in range(0, len(images), fitting)]
    answer = np.concatenate([served(torch.from_numpy(part)).numpy() for part in parts])
    if not np.isfinite(answer).all():
        raise RefusedError(500, "the model's answer is not finite; train it anew")
    return answer


def as_json(predictions: NDArray[np.float32]) -> Iterator[bytes]:
    """The chunks of {"predictions": ...}, of a bounded number of rows each."""
    rows = max(1, AT_ONCE // predictions.shape[3])
    yield b'{"predictions": ['
    for number, image in enumerate(predictions[:, 0]):
        yield b", [[" if number else b"[["
        for start in range(0, len(image), rows):
            yield (b", " if start else b"") + json.dumps(image[start : start + rows].tolist())[1:-1].encode()
        yield b"]]"
    yield b"]}"
