"""Is a port free for a server at 127.0.0.1."""

from __future__ import annotations

import socket

import pytest

from angiosynth.errors import InputError
from angiosynth.runtime.ports import free_or_refuse


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_in_one_line(address: str) -> None:
    """Taken at this address alone, or at all of the machine's."""
    with socket.socket() as listening:
        listening.bind((address, 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(InputError) as caught:
            free_or_refuse(port, "PORT=5002")
    assert str(caught.value) == f"port {port}: another program listens there; choose another: PORT=5002"


def test_a_free_port_is_let_pass_and_one_that_was_used_a_moment_ago() -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            listening.accept()[0].close()  # the server's side ends first, and is remembered for a minute
            client.recv(1)
    free_or_refuse(port, "")
    free_or_refuse(port, "")


def test_a_port_that_the_system_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(InputError, match=r"port 1: cannot be opened \(Permission denied\); choose another"):
        free_or_refuse(1, "")
