"""One answer over HTTP for whoever asks, within stated limits of size, number and time. Every refusal is one line of JSON.

Bodies are computed one after the other in one thread: torch uses all processors for one, and each further thread would keep memory of its
own. The queue is bounded in number and in bytes, so that memory stays flat whatever is sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from angiosynth.runtime.memory import give_back_freed_memory
from angiosynth.runtime.progress import say

MOST_BYTES = 64 << 20  # of a body: eight slices of 512x512 voxels, 21 characters each, take 45 MB
MOST_HELD = 4 * MOST_BYTES  # of all bodies together: four clients may send the largest at once
MOST_REQUESTS = 32  # read, waiting, computed or answered at once; a processor does one at a time anyway
MOST_CONNECTIONS = 256  # most of them idle
HEAD_S = 10  # for a connection without a request, for a request's head, and for the rest of a refused body
BODY_S = 60  # so long a body may take: a megabyte each second
ANSWER_S = 120  # so long a client may take to read its answer
CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT", 413: "REQUEST_TOO_LARGE"}
CODES |= {415: "UNSUPPORTED_MEDIA_TYPE", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
HEALTH = ("/ping", "/health")  # as MLflow's scoring server has them
JSON = (b"content-type", b"application/json")

Header = tuple[bytes, bytes]


class RefusedError(Exception):
    """A request gets no answer but a status and a line that tells why."""

    def __init__(self, status: int, reason: str, *headers: Header) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers

    def line(self) -> bytes:
        """As MLflow's servers write it."""
        return json.dumps({"error_code": CODES[self.status], "message": str(self)}).encode() + b"\n"


class Service:
    """An ASGI application: POST /invocations; GET /ping, /health and /version.

    Args:
        answer: from a body to the parts of the JSON that answers it; raises RefusedError for one that it does not take. Called in one
            thread, one call at a time.
        version: the answer of /version.
    """

    def __init__(self, answer: Callable[[bytearray], Iterator[bytes]], version: str) -> None:
        self._answer, self._version = answer, version
        self._worker, self._writer = ThreadPoolExecutor(1, "answers"), ThreadPoolExecutor(1, "writes")
        self._requests = self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._route(scope, receive, send)
        except RefusedError as refused:
            await self._send(send, refused.status, iter([refused.line()]), *refused.headers)
        except ConnectionError:  # the client is gone
            pass

    async def _route(self, scope: Any, receive: Any, send: Any) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/invocations" and method == "POST":
            if self._requests >= MOST_REQUESTS:
                _refuse_for_now()
            self._requests += 1
            try:
                _refuse_head(dict(scope["headers"]))
                await self._send(send, 200, await self._answered(receive))
            finally:
                self._requests -= 1
        elif path == "/invocations":
            raise RefusedError(405, "/invocations takes POST", (b"allow", b"POST"))
        elif path not in (*HEALTH, "/version"):
            raise RefusedError(404, "there are POST /invocations and GET /ping, /health and /version")
        elif method not in ("GET", "HEAD"):
            raise RefusedError(405, f"{path} takes GET", (b"allow", b"GET, HEAD"))
        else:
            await self._send(send, 200, iter([b"\n" if path in HEALTH else self._version.encode()]))

    async def _answered(self, receive: Any) -> Iterator[bytes]:
        """Read the body and compute; a client that goes away meanwhile loses its turn."""
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    await self._read(body, receive)
            except TimeoutError as error:
                raise RefusedError(408, f"the body took longer than {BODY_S} s") from error
            return await _unless_gone(self._worker.submit(self._call, body), receive)
        finally:
            self._held -= len(body)

    async def _read(self, body: bytearray, receive: Any) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            part, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(part) > MOST_BYTES:
                _refuse_length()
            if self._held + len(part) > MOST_HELD:
                _refuse_for_now()
            body += part
            self._held += len(part)

    def _call(self, body: bytearray) -> Iterator[bytes]:
        try:
            return self._answer(body)
        except RefusedError:
            raise
        except Exception as error:  # its text may name files: for the service's owner, not for its clients
            say(f"serve: a request failed: {type(error).__name__}: {error}")
            raise RefusedError(500, "the model failed on this request; the service goes on") from None
        finally:
            give_back_freed_memory()

    async def _send(self, send: Any, status: int, parts: Iterator[bytes], *headers: Header) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [JSON, *headers]})
        loop = asyncio.get_running_loop()
        while part := await loop.run_in_executor(self._writer, next, parts, b""):  # to write a million numbers takes a second
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _unless_gone(answer: Future[Iterator[bytes]], receive: Any) -> Iterator[bytes]:
    waiting, gone = asyncio.wrap_future(answer), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            raise ConnectionResetError
        return waiting.result()
    finally:
        gone.cancel()


def _refuse_head(headers: dict[bytes, bytes]) -> None:
    """Refuse a request by its headers, before its body is read."""
    kind, _, charset = headers.get(b"content-type", b"").lower().partition(b";")
    if kind.strip() != b"application/json" or charset.strip().strip(b'"') not in (b"", b"charset=utf-8", b'charset="utf-8'):
        raise RefusedError(415, "the body is JSON: send Content-Type: application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(415, "the body is not to be compressed: send no Content-Encoding")
    if int(headers.get(b"content-length", b"0")) > MOST_BYTES:
        _refuse_length()


def _refuse_length() -> NoReturn:
    raise RefusedError(413, f"the body has more than {MOST_BYTES:,} bytes; send fewer images at a time")


def _refuse_for_now() -> NoReturn:
    raise RefusedError(503, "too many requests at a time; ask again later", (b"retry-after", b"1"))


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP with an end to every wait for a client: one that sends or reads nothing, or a byte now and then, is cut off."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ends_in(HEAD_S)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends_in(None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:  # a request: Service bounds its time
            self._ends_in(None)

    def pause_writing(self) -> None:
        if self._end is None:
            self._ends_in(ANSWER_S)
        super().pause_writing()

    def on_response_complete(self) -> None:
        self._ends_in(HEAD_S)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP."""
        refused = RefusedError(400, msg)
        for event in (
            h11.Response(status_code=400, headers=[JSON, (b"connection", b"close")]),
            h11.Data(refused.line()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _ends_in(self, seconds: float | None) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def run(service: Service, listener: socket.socket) -> None:
    """Serve at a listening socket until Ctrl-C or SIGTERM."""
    quiet: dict[str, Any] = {
        "log_config": None,
        "log_level": "critical",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
    }
    config = uvicorn.Config(service, loop="asyncio", http=BoundedProtocol, ws="none", lifespan="off", timeout_graceful_shutdown=5, **quiet)
    uvicorn.Server(config).run(sockets=[listener])
