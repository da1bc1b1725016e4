"""Ports on this machine, asked for before a server is begun that would fail late or in many lines."""

from __future__ import annotations

import errno
import socket

from angiosynth.errors import InputError

HERE = "127.0.0.1"
BACKLOG = 128  # connections that wait to be accepted


def free_or_refuse(port: int, choose: str) -> None:
    """Refuse a port on which a server could not listen at 127.0.0.1; arguments and errors as of `listening`."""
    listening(port, choose).close()


def listening(port: int, choose: str) -> socket.socket:
    """Listen at a port of 127.0.0.1; clients wait until a connection is accepted.

    Args:
        port: 1 to 65535.
        choose: how to name another, such as "make ui UI_PORT=5002".

    Raises:
        InputError: another program listens on it, or the system does not allow it.
    """
    with socket.socket() as asking:
        asking.settimeout(1.0)
        # Asked as well as tried: some systems let a second program listen beside one that listens at all addresses.
        if asking.connect_ex((HERE, port)) == 0:
            raise InputError(f"port {port}: another program listens there; choose another: {choose}")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has just ended is no listener
    try:
        listener.bind((HERE, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else f"cannot be opened ({error.strerror})"
        raise InputError(f"port {port}: {reason}; choose another: {choose}") from error
    return listener
