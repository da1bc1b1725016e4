"""The client of the warm server (`warm.py`): hands a command over, waits for its end, and ends as it ended.

The caller passes on signals that were sent to it alone. Those of a terminal reach the command by themselves, since it joins the caller's
process group. This module is imported at every start of `cli.py`: it brings no library.
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

VARIABLE = "ANGIOSYNTH_WARM"  # names the socket
HEEDED = {signal.SIGINT, *ENDING}
# Terminals send these to the whole process group; the others are passed on.
OF_TERMINALS = {number for number in HEEDED if number.name in ("SIGINT", "SIGQUIT", "SIGHUP")}
MOST = 1 << 20  # bytes of a request: arguments and environment
STREAMS = 3


def hand_over(root: Path) -> None:
    """Let the warm server run this process's command, and end as it ends; return where there is none that can.

    Args:
        root: the checkout whose code is to run.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)  # what comes before the command runs is for the one who then runs it
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
    except (OSError, ValueError):  # nobody listens, or the request is too long
        return False


@contextmanager
def short_path(address: str) -> Iterator[str]:
    """Another path of a socket, by a descriptor of its folder: a socket's path has at most 107 bytes."""
    folder, name = os.path.split(address)
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _send_request(connection: socket.socket, root: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    facts = {
        "root": str(root),
        "python": sys.executable,
        "words": sys.argv,
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "umask": umask,
        "ignored": sorted(_ignored()),
        "group": os.getpgrp(),
        "session": os.getsid(0),
    }
    content = json.dumps(facts).encode()
    if len(content) > MOST:
        raise ValueError(len(content))
    socket.send_fds(connection, [len(content).to_bytes(4, "big")], list(range(STREAMS)))
    connection.sendall(content)


def _ignored() -> set[int]:
    return {number for number in HEEDED if signal.getsignal(number) == signal.SIG_IGN}


def _outcome(connection: socket.socket, mask: Iterable[int]) -> int:
    """Wait for the command's end and pass signals on meanwhile; gives the status that waitpid gave."""

    def pass_on(number: int, frame: object) -> None:
        del frame
        with suppress(OSError):
            connection.sendall(bytes([number]))

    missed = signal.sigpending() & OF_TERMINALS  # the command was not there yet
    for number in HEEDED - _ignored():
        signal.signal(number, signal.SIG_IGN if number in OF_TERMINALS else pass_on)
    for number in missed - _ignored():
        pass_on(number, None)
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
