"""The service and those who mean it ill: bounded in size, number and time; every refusal one line without a path; memory stays flat."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from angiosynth.runtime import service as module
from angiosynth.runtime.ports import listening
from angiosynth.runtime.service import MOST_BYTES, RefusedError, Service
from angiosynth.segmentation import invocations
from angiosynth.segmentation.invocations import MOST_VOXELS, answer, images_of
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.unet import build_unet
from benchmarks.serving import MALFORMED, measure

pytestmark = pytest.mark.waits

JSON = {"Content-Type": "application/json"}
Reply = tuple[int, bytes]


@pytest.fixture(scope="module")
def served() -> Served:
    return Served(Segmenter(build_unet(2, 0.0, 3).eval(), -0.5, 0.4, "float32"))


def _images(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _body(images: Any, key: str = "inputs") -> bytes:
    return json.dumps({key: images.tolist()}).encode()


@contextmanager
def _running(answering: Callable[[bytearray], Iterator[bytes]]) -> Iterator[int]:
    """The service in a thread of this process; gives its port."""
    import asyncio

    import uvicorn

    listener = listening(0, "")
    config = uvicorn.Config(
        Service(answering, "1"),
        loop="asyncio",
        http=module.BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)  # signals are the main thread's
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.force_exit = server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="module")
def port(served: Served) -> Iterator[int]:
    with _running(partial(answer, served)) as port:
        yield port


def _ask(port: int, body: bytes | Iterator[bytes], method: str = "POST", path: str = "/invocations", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()} or JSON
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body, named)
        reply = connection.getresponse()
        return reply.status, reply.read()


def _refused(reply: Reply, status: int) -> None:
    """One line of JSON, without a path, a trace or a class's name."""
    got, text = reply
    assert got == status, text[:200]
    assert text.count(b"\n") == 1
    said = json.loads(text)
    assert set(said) == {"error_code", "message"}
    assert not any(word in text for word in (b"Traceback", b".py", b"site-packages", b"Error(", b"/home", b"/root", b"/tmp"))
    assert len(text) < 500


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (2, 1, 32, 32), (3, 1, 48, 64), (5, 1, 64, 64), (41, 1, 32, 48), (1, 1, 96, 96)])
def test_however_many_images_are_answered_as_all_at_once(shape: tuple[int, ...], served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit where they fit into one part, to the sixth digit where they do not, so that the memory does not grow with the batch."""
    images = _images(*shape)
    with torch.no_grad():
        expected = served(torch.from_numpy(images)).numpy()
    parts: list[int] = []
    forward = served.forward

    def counted(part: torch.Tensor) -> torch.Tensor:
        parts.append(part.numel())
        return forward(part)

    monkeypatch.setattr(served, "forward", counted)
    monkeypatch.setattr(invocations, "VOXELS_AT_ONCE", 2 * 64 * 64)
    for key in ("inputs", "instances"):
        got = json.loads(b"".join(answer(served, _body(images, key))))
        assert list(got) == ["predictions"]
        found = np.array(got["predictions"], np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=0 if images.size <= 2 * 64 * 64 else 1e-6)
    assert max(parts) <= max(2 * 64 * 64, images[0].size)
    assert sum(parts) == 2 * images.size


GOOD = _images(1, 1, 32, 32)
NUMBERS = json.dumps(GOOD.tolist())
REFUSED: dict[str, tuple[str, int]] = {
    "nothing": ("", 400),
    "no JSON": ("inputs", 400),
    "cut off": ('{"inputs": ' + NUMBERS[:-3], 400),
    "NaN": ('{"inputs": [[[[NaN]]]]}', 400),
    "infinity": ('{"inputs": [[[[Infinity, -Infinity]]]]}', 400),
    "1e999": (f'{{"inputs": {NUMBERS.replace("[0.", "[1e999, 0.", 1)}}}', 400),
    "2": (f'{{"inputs": {json.dumps((GOOD * 2.1).tolist())}}}', 400),
    "1e39, beyond float32": (f'{{"inputs": {json.dumps((GOOD.astype(float) * 1e39).tolist())}}}', 400),
    "strings": (f'{{"inputs": {json.dumps(GOOD.astype(str).tolist())}}}', 400),
    "truth values": (f'{{"inputs": {json.dumps((GOOD > 0).tolist())}}}', 400),
    "null": ('{"inputs": null}', 400),
    "one null": (f'{{"inputs": {NUMBERS.replace("[0.", "[null, 0.", 1)}}}', 400),
    "ragged": ('{"inputs": [[[[0, 0], [0]]]]}', 400),
    "empty": ('{"inputs": []}', 400),
    "empty image": ('{"inputs": [[[]]]}', 400),
    "no image": ('{"inputs": [[[[]]]]}', 400),
    "a number": ('{"inputs": 1}', 400),
    "a mapping": (f'{{"inputs": {{"": {NUMBERS}}}}}', 400),
    "a list": (f"[{NUMBERS}]", 400),
    "another key": (f'{{"data": {NUMBERS}}}', 400),
    "two keys": (f'{{"inputs": {NUMBERS}, "params": {{}}}}', 400),
    "one key twice": (f'{{"inputs": {NUMBERS}, "inputs": {NUMBERS}}}', 400),
    "both keys": (f'{{"inputs": {NUMBERS}, "instances": {NUMBERS}}}', 400),
    "a table": (json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1]]}}), 400),
    "deep lists": ('{"inputs": ' + "[" * 200_000 + "]" * 200_000 + "}", 400),
    "deep mappings": ('{"inputs": ' + '{"":' * 50_000 + "0" + "}" * 50_001, 400),
    "digits": (f'{{"inputs": [[[[{"9" * 5000}]]]]}}', 400),
    "a long number": (f'{{"inputs": [[[[{"9" * 4000}]]]]}}', 400),
    "long decimals": (f'{{"inputs": [[[[0.{"1" * 1_000_000}]]]]}}', 400),
    "escapes": ('{"\\u0069nputs": [[[[0]]]]}', 400),
    "two channels": (f'{{"inputs": {json.dumps(_images(1, 2, 32, 32).tolist())}}}', 400),
    "sides of 16": (f'{{"inputs": {json.dumps(_images(1, 1, 16, 16).tolist())}}}', 400),
    "sides of 33": (f'{{"inputs": {json.dumps(_images(1, 1, 32, 33).tolist())}}}', 400),
    "a side of 1040": (f'{{"inputs": {json.dumps(np.zeros((1, 1, 32, 1040)).tolist())}}}', 400),
    "three axes": (f'{{"inputs": {json.dumps(_images(1, 32, 32).tolist())}}}', 400),
    "five axes": (f'{{"inputs": {json.dumps(_images(1, 1, 32, 32, 1).tolist())}}}', 400),
    "voxels": ('{"inputs": [' + "0," * MOST_VOXELS + "0]}", 413),
    "16 images of 768x768": (
        '{"inputs": [' + ",".join(["[[" + ",".join(["[" + ",".join(["0"] * 768) + "]"] * 768) + "]]"] * 16) + "]}",
        413,
    ),
    "empty lists": ('{"inputs": [' + "[]," * MOST_VOXELS + "[]]}", 413),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_body_that_is_no_batch_of_images_is_refused_in_one_line(kind: str, port: int) -> None:
    body, status = REFUSED[kind]
    _refused(_ask(port, body.encode()), status)


def test_after_all_of_these_it_answers_as_before(port: int, served: Served) -> None:
    for status, text in (_ask(port, _body(GOOD)), _ask(port, _body(GOOD), Content_Type="application/json; charset=utf-8")):
        assert status == 200
        with torch.no_grad():
            np.testing.assert_array_equal(np.array(json.loads(text)["predictions"], np.float32), served(torch.from_numpy(GOOD)).numpy())


@pytest.mark.parametrize("encoded", ["utf-16", "utf-8-sig", "latin-1"])
def test_a_body_in_another_encoding_is_refused(encoded: str, port: int) -> None:
    text = f'{{"inputs": {NUMBERS}}}' + ("\u00ff" if encoded == "latin-1" else "")
    _refused(_ask(port, text.encode(encoded)), 400)


HEADERS: dict[str, tuple[dict[str, str], int]] = {
    "no type": ({"X": "y"}, 415),
    "text": ({"Content-Type": "text/plain"}, 415),
    "a form, as a page of another site can send": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "CSV": ({"Content-Type": "text/csv"}, 415),
    "parquet": ({"Content-Type": "application/x-parquet"}, 415),
    "pickle": ({"Content-Type": "application/octet-stream"}, 415),
    "another charset": (JSON | {"Content-Type": "application/json; charset=utf-16"}, 415),
    "gzip": (JSON | {"Content-Encoding": "gzip"}, 415),
    "an encoding that is none": (JSON | {"Content-Encoding": "\x7f"}, 415),
    "a length beyond": (JSON | {"Content-Length": str(MOST_BYTES + 1)}, 413),
    "a length beyond all": (JSON | {"Content-Length": "9" * 18}, 413),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_head_is_refused_before_its_body_is_read(kind: str, port: int) -> None:
    headers, status = HEADERS[kind]
    _refused(_ask(port, gzip.compress(b" " * 1000), **headers), status)


OTHERS = [("GET", "/invocations", 405), ("PUT", "/invocations", 405), ("DELETE", "/ping", 405), ("POST", "/health", 405), ("GET", "/", 404)]
OTHERS += [("GET", "/docs", 404), ("GET", "/../etc/passwd", 404), ("POST", "/%2e%2e/invocations", 404), ("TRACE", "/x", 404)]


@pytest.mark.parametrize(("method", "path", "status"), OTHERS)
def test_other_paths_and_methods_are_refused(method: str, path: str, status: int, port: int) -> None:
    _refused(_ask(port, b"", method, path), status)


def test_its_health_can_be_asked(port: int) -> None:
    assert [_ask(port, b"", "GET", path) for path in ("/ping", "/health", "/version")] == [(200, b"\n"), (200, b"\n"), (200, b"1")]


def test_a_body_of_no_stated_length_is_read_up_to_the_limit(port: int) -> None:
    body = _body(GOOD)
    assert _ask(port, iter([body[:100], body[100:]]))[0] == 200
    endless = (b" " * (1 << 20) for _ in range((MOST_BYTES >> 20) + 8))
    _refused(_ask(port, endless), 413)


def _raw(port: int, sent: bytes, wait_s: float = 30) -> bytes:
    """What comes back over a bare connection until it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        client.sendall(sent)
        got = b""
        with suppress(ConnectionResetError):  # closed before all that was sent had been read
            while part := client.recv(1 << 16):
                got += part
        return got


POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\n"
NO_HTTP = {
    "bytes": b"\x00\x01\x02\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a head without end": POST + b"X: y" * 100_000,
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_refused_and_cut_off(sent: bytes, port: int) -> None:
    head, _, text = _raw(port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") or (not head and len(sent) > 100_000)
    assert b"BAD_REQUEST" in text or not head
    assert b".py" not in text


STARTED = POST + b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"


@pytest.mark.parametrize("sent", [b"", POST, STARTED], ids=["nothing", "half a head", "half a body"])
def test_a_client_that_sends_no_more_is_cut_off(sent: bytes, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.3)
    monkeypatch.setattr(module, "BODY_S", 0.3)
    with _running(partial(answer, served)) as port:
        got = _raw(port, sent)
        assert not got or got.startswith(b"HTTP/1.1 408 ")
        assert bool(got) == sent.endswith(b"{")
        assert _ask(port, _body(GOOD))[0] == 200


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    with _running(partial(answer, served)) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.settimeout(0.05)
        cut = False
        for byte in b"GET /ping HTTP/1.1\r\n" + b"X: " + b"y" * 1000:
            try:
                client.send(bytes([byte]))
                cut = client.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                cut = True
            if cut:
                break
        assert cut


def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    parts = 400
    taken: list[int] = []

    def endless(_: bytearray) -> Iterator[bytes]:
        for number in range(parts):
            taken.append(number)
            yield b" " * (1 << 16)

    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
    with _running(endless) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(head)
        time.sleep(1.5)
        got = 0
        with suppress(OSError):  # closed, before all had come
            while part := client.recv(1 << 20):
                got += len(part)
        assert got < parts << 16


@pytest.mark.parametrize(
    ("limit", "most", "bytes_sent"),
    [("MOST_REQUESTS", 1, 1), ("MOST_HELD", 1000, 700)],  # the one that is computed has 400
)
def test_more_than_may_wait_is_sent_away_and_may_come_again(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int, bytes_sent: int
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(body: bytearray) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(120)
        return iter([b"{}"])

    monkeypatch.setattr(module, limit, most)
    with _running(slow) as port:
        replies: list[Reply] = []
        first = threading.Thread(target=lambda: replies.append(_ask(port, b" " * 400)))
        first.start()
        assert begun.wait(60)
        _refused(_ask(port, b" " * bytes_sent), 503)
        go_on.set()
        first.join(60)
        assert [reply[0] for reply in replies] == [200]
        assert _ask(port, b" " * bytes_sent)[0] == 200


def test_a_client_that_goes_away_loses_its_turn() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow(body: bytearray) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(30)
        done.append(bytes(body))
        return iter([b"{}"])

    def begin(port: int, body: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), timeout=30)
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n" + body)
        return client

    with _running(slow) as port:
        first = begin(port, b"1")
        assert begun.wait(30)
        begin(port, b"2").close()
        time.sleep(0.3)  # for the service to see that it is gone
        go_on.set()
        assert _ask(port, b"3")[0] == 200
        first.close()
    assert b"2" not in done


@pytest.mark.parametrize(
    "error", [RuntimeError("/home/lab/secret.pt: broken"), MemoryError(), RecursionError("x"), RefusedError(500, "no")]
)
def test_a_fault_of_the_model_is_one_line_without_what_it_says(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: bytearray) -> Iterator[bytes]:
        raise error

    with _running(broken) as port:
        _refused(_ask(port, b"1"), 500)
        _refused(_ask(port, b"1"), 500)
    if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
        assert "secret.pt" in capsys.readouterr().err, "who runs the service is told"


def test_an_answer_that_is_not_finite_is_a_fault(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "forward", lambda images: images * torch.nan)
    with pytest.raises(RefusedError, match="not finite"):
        answer(served, _body(GOOD))


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "instances", "x"]), inner, max_size=2)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3), _nested, max_leaves=12))
@settings(max_examples=100, deadline=None)
def test_any_json_is_images_or_refused(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"inputs": value})):
        with pytest.raises(RefusedError) as caught:
            images_of(text.encode())
        assert caught.value.status in (400, 413)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=60), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_within_a_sound_body_are_images_or_refused(noise: bytes, at: int) -> None:
    body = b'{"inputs": [[[[0.5, -0.25], [1, 1e-3]]]]}'
    with pytest.raises(RefusedError) as caught:
        images_of(body[:at] + noise + body[at:])
    assert caught.value.status == 400


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.long
def test_memory_stays_flat_over_clients_that_send_all_kinds() -> None:
    """A short form of benchmarks/serving.py, which sends 2,000 requests. Two rounds of every kind, then two more: at most a fifth more."""
    found = measure("angiosynth", clients=4, requests=8 * len(MALFORMED), width=2, side=64)
    assert found["wrong"] == []
    assert found["last_quarter_mb"] < 1.2 * found["first_quarter_mb"] + 50  # type: ignore[operator]


def test_the_limits_leave_room_for_what_scanners_give() -> None:
    """Eight slices of 512x512 with all digits of a float64 fit into a body; a slice of 1024x1024 fits too."""
    assert MOST_VOXELS >= 8 * 512 * 512
    assert 8 * 512 * 512 * len("-0.12345678901234567, ") <= MOST_BYTES
    assert invocations.MOST_SIDE**2 <= MOST_VOXELS
