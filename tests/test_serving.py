"""The registered U-net of the pipeline over HTTP: from its weights alone, in any batch and size, as the project's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import load_segmenter

STARTS_WITHIN_S = 120  # on a machine with much else to do
pytestmark = [pytest.mark.slow, pytest.mark.service]


def _images(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def server(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`cli.py serve` of the registered U-net."""
    away = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["cli.py", "serve", "--model", "models:/unet-real/1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI", "DVC_ROOT")}
    log = away / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=reproduced, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/ping", process, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def _ask(server: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = urllib.request.Request(server, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return np.asarray(json.load(answer)["predictions"], np.float32)


def test_a_registered_unet_answers_over_http(server: str, reproduced: Path) -> None:
    served = Served(load_segmenter(reproduced / "models" / "unet" / "real"))
    for shape in ((3, 1, 32, 32), (1, 1, 48, 80)):
        images = _images(*shape)
        with torch.no_grad():
            expected = served(torch.from_numpy(images)).numpy()
        answer = _ask(server, images)
        assert answer.shape == shape
        np.testing.assert_array_equal(answer, expected)
        assert 0 < answer.min() < answer.max() < 1


def test_a_batch_of_the_wrong_shape_is_refused_and_the_server_goes_on(server: str) -> None:
    for shape in ((1, 2, 32, 32), (1, 1, 33, 32)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            _ask(server, _images(*shape))
        assert caught.value.code == 400
    assert _ask(server, _images(2, 1, 32, 48)).shape == (2, 1, 32, 48)


@pytest.mark.long
def test_images_that_are_not_standardised_are_refused_with_the_reason(server: str) -> None:
    """Grey levels of 8 and 12 bits, NaN and infinity as JSON's NaN and 1e999, no image at all."""
    good = _images(2, 1, 32, 32)
    bad = {"8 bits": (good + 1) * 127.5, "12 bits": (good + 1) * 2047.5, "NaN": good * np.nan, "infinite": good * np.inf, "none": good[:0]}
    for name, images in bad.items():
        with pytest.raises(urllib.error.HTTPError) as caught:
            _ask(server, images)
        assert caught.value.code == 400, name
        assert name == "none" or "values in [-1, 1]" in caught.value.read().decode(), name
    assert _ask(server, good).shape == good.shape
