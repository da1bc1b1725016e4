"""Headless Chromium over its DevTools protocol on a pair of pipes: no driver, no port, no package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-quic", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)
TIMEOUT_S = 60.0  # on a busy machine; a page that is there is seen at once
POLL_S = 0.1


def chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


def wait_for(true: Callable[[], Any], otherwise: Callable[[], str]) -> Any:
    """Call until what it gives is true, and give that; the second says what is wrong where it never is."""
    until = time.monotonic() + TIMEOUT_S
    while not (value := true()):
        if time.monotonic() > until:
            raise TimeoutError(otherwise())
        time.sleep(POLL_S)
    return value


class Browser:
    """One page of a Chromium of its own, with a profile that is thrown away."""

    def __init__(self, program: str, size: tuple[int, int] = (1400, 900)) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="angiosynth-browser-", ignore_cleanup_errors=True)
        words = [program, *QUIET, f"--user-data-dir={self._profile.name}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # It reads from descriptor 3 and writes to 4; copies above these cannot be in the way of each other.
        copies = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_read, to_write)]
        wiring = [(os.POSIX_SPAWN_DUP2, copies[0], 3), (os.POSIX_SPAWN_DUP2, copies[1], 4), *_silenced()]
        self._process = os.posix_spawn(program, words, os.environ, file_actions=wiring, setpgroup=0)
        for end in (to_read, to_write, *copies):
            os.close(end)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        for end in (self._read, self._write):
            os.close(end)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """What the page says."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait(self, script: str) -> Any:
        """Wait until an expression is true in the page; gives its value."""
        return wait_for(lambda: self.run(script), lambda: f"not in the page: {script}\nThe page says:\n{self.text()[:2000]}")

    def wait_text(self, *words: str) -> None:
        """Wait until the page says all the words."""
        self.wait(f"{json.dumps(words)}.every(word => document.body.innerText.includes(word))")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _message(self) -> dict[str, Any]:
        until = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            if not (more := os.read(self._read, 1 << 20)):
                raise RuntimeError("Chromium has ended")
            self._buffer += more
        first, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found


def _silenced() -> list[tuple[Any, ...]]:
    return [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0o600) for descriptor in (1, 2)]
