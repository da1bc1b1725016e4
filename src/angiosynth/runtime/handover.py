"""Client of the warm server (`warm.py`): passes a command to it, waits for its end, and exits with the same status.

Signals sent to the caller alone are forwarded. Signals of a terminal reach the command directly, because it joins the caller's process
group. This module is imported at every start of `cli.py`, so it must not import third-party libraries.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from angiosynth.runtime.progress import say
from angiosynth.runtime.stop import ENDING

VARIABLE = "ANGIOSYNTH_WARM"  # path of the socket
HEEDED = {signal.SIGINT, *ENDING}
# Terminals send these to the whole process group; all others are forwarded.
OF_TERMINALS = {number for number in HEEDED if number.name in ("SIGINT", "SIGQUIT", "SIGHUP")}
MOST = 1 << 20  # bytes of a request: arguments and environment
STREAMS = 3


def hand_over(root: Path) -> None:
    """Run this process's command in the warm server and exit with its status. Returns if no server accepts the command.

    Args:
        root: the checkout whose code is to run.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)  # signals that arrive now are delivered to the process that runs the command
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            if _accepted(connection, address, root):
                _end_like(_outcome(connection, before))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _accepted(connection: socket.socket, address: str, root: Path) -> bool:
    try:
        with short_path(address) as path:
            connection.connect(path)
        _send_request(connection, root)
        return connection.recv(1) == b"y"
    except (OSError, ValueError):  # no server listens, or the request is too long
        return False


@contextmanager
def short_path(address: str) -> Iterator[str]:
    """A short path of a socket through a descriptor of its folder, since paths of sockets are limited to 107 bytes."""
    folder, name = os.path.split(address)
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _send_request(connection: socket.socket, root: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    request = {
        "root": str(root),
        "python": sys.executable,
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "umask": umask,
        "ignored": sorted(_ignored()),
        "group": os.getpgrp(),
        "session": os.getsid(0),
    }
    content = json.dumps(request).encode()
    if len(content) > MOST:
        raise ValueError(len(content))
    socket.send_fds(connection, [len(content).to_bytes(4, "big")], list(range(STREAMS)))
    connection.sendall(content)


def _ignored() -> set[int]:
    return {number for number in HEEDED if signal.getsignal(number) == signal.SIG_IGN}


def _outcome(connection: socket.socket, mask: Iterable[int]) -> int:
    """Wait for the end of the command and forward signals; returns the status from waitpid."""

    def forward(number: int, frame: object) -> None:
        del frame
        with suppress(OSError):
            connection.sendall(bytes([number]))

    missed = signal.sigpending() & OF_TERMINALS  # sent before the command joined the process group
    for number in HEEDED - _ignored():
        signal.signal(number, signal.SIG_IGN if number in OF_TERMINALS else forward)
    for number in missed - _ignored():
        forward(number, None)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    status = b""
    while not status.endswith(b"\n") and (piece := connection.recv(16)):
        status += piece
    if not status:
        say("angiosynth: the process that ran this command was killed; run it again")
        sys.exit(1)
    return int(status)


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError):  # SIGKILL cannot be set
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(os.waitstatus_to_exitcode(status))
