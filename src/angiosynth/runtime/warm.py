"""A process that has imported the slow libraries once, and runs each command of `cli.py` in a fork of itself.

Importing torch, SciPy and MLflow takes some seconds (benchmarks/start.py), and `dvc repro` starts a process a stage. A server
(`warm_server`) imports them once, listens on a socket that only its user can reach, and forks a child for each command that is handed to
it. `cli.py` asks `handover.hand_over` first: with no server, or with one that was started in another environment, the command runs in its
own process.

The child takes over the caller's arguments, environment, working folder, umask, open streams and process group. The caller waits, passes
signals on, and ends as the child ends. The server imports libraries alone; each child reads the code of this project anew. Threads do
not survive a fork, so none may run: torch starts its own with the first work; OpenBLAS and jemalloc, which start theirs when they are
imported, start them anew in a fork (pthread_atfork).
"""

from __future__ import annotations

import gc
import io
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from angiosynth.errors import InputError
from angiosynth.reading import parse_json
from angiosynth.runtime.handover import HEEDED, MOST, STREAMS, VARIABLE, short_path
from angiosynth.runtime.output import scratch_folder

LIBRARIES = (
    # what the first optimiser and the first run of a process would import, two seconds each
    *("torch._dynamo", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("torch", "mlflow", "nibabel", "scipy.ndimage", "scipy.spatial", "scipy.stats", "scipy.special"),
    # what logging a network brings
    *("mlflow.pyfunc", "sympy.tensor.tensor", "torch._export.serde.serialize"),
    *("torch._inductor.ir", "torch._inductor.package", "torch.export._trace"),
    *("typer", "pydantic", "ruamel.yaml", "jinja2", "rich.progress", "matplotlib.figure", "matplotlib.backends.backend_agg"),
)
# Variables that may differ between server and caller: read when a command runs. Others may have been read when a library was imported.
FREE, FREE_PREFIXES = ("PWD", "OLDPWD", "SHLVL", "_"), ("DVC_", "ANGIOSYNTH_", "GIT_")


@contextmanager
def warm_server(root: Path, libraries: Sequence[str] = LIBRARIES, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Run a server; gives the environment variables that commands find it by.

    When the block is left, commands that still run get SIGTERM, and the server ends after them. Where the system lacks what it needs
    there is no server, and no variable.

    Args:
        root: the checkout whose code it runs.
        libraries: modules that it imports at its start.
        environment: of the commands, but for the variables that they are found by and those of FREE and FREE_PREFIXES.
    """
    with ExitStack() as stack:
        try:
            os.close(os.pidfd_open(os.getpid()))  # of Linux alone, from 5.3 on
            folder = stack.enter_context(scratch_folder(root / ".work" / "warm"))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            address = str(folder / "socket")
            with short_path(address) as path:
                listener.bind(path)  # some file systems have no sockets
        except (AttributeError, OSError):
            yield {}
            return
        listener.listen()  # before the server is ready, commands wait
        variables = {VARIABLE: address}
        process = stack.enter_context(_server_process(root, listener, {**environment, **variables}, libraries))
        listener.close()
        assert process.stdin is not None
        with process.stdin:  # the server sees the end of its input
            yield variables


def _server_process(
    root: Path, listener: socket.socket, environment: Mapping[str, str], libraries: Sequence[str]
) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path.insert(0, {str(root / 'src')!r}); from angiosynth.runtime import warm; "
    code += f"warm.serve({listener.fileno()}, {tuple(libraries)!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
    )


def serve(listener: int, libraries: Sequence[str]) -> None:
    """Import libraries, then fork for each command that comes to a listening socket, until standard input ends. A child never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    environment = _fixed(dict(os.environ))  # as libraries read it; some of them add variables
    for name in libraries:
        import_module(name)
    gc.collect()
    gc.freeze()  # what is imported is never garbage: looking through it would copy its pages in every child
    _Server(socket.socket(fileno=listener), environment, usable=threading.active_count() == 1).run()


class _Server:
    """Children by the file descriptors that tell of them: their callers' connections, and their own end."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str], usable: bool) -> None:
        self._listener = listener
        self._environment = environment
        self._usable = usable
        self._selector = selectors.DefaultSelector()
        self._children: set[int] = set()  # their descriptors

    def run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._close)
        while self._listener.fileno() >= 0 or self._children:
            for key, _ in self._selector.select():
                if key.fileobj in {one.fileobj for one in self._selector.get_map().values()}:  # not ended by an event before it
                    key.data()

    def _close(self) -> None:
        self._selector.unregister(sys.stdin)
        self._selector.unregister(self._listener)
        self._listener.close()
        for child in self._children:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGTERM)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        try:
            request, streams = _receive_request(connection)
        except (OSError, ValueError, InputError):
            connection.close()
            return
        if not self._usable or not _suits(request, self._environment):
            connection.sendall(b"n")
            connection.close()
        elif pid := os.fork():
            self._watch(connection, pid)
        else:
            for descriptor in [connection.fileno(), *(key.fd for key in self._selector.get_map().values() if key.fd > 2)]:
                os.close(descriptor)
            self._selector.close()
            _become(request, streams)
        for stream in streams:
            os.close(stream)

    def _watch(self, connection: socket.socket, pid: int) -> None:
        ended = os.pidfd_open(pid)
        self._children.add(ended)

        def heed() -> None:
            numbers = b""
            with suppress(OSError):
                numbers = connection.recv(16)
            if not numbers:  # the caller was killed: so is the command
                self._selector.unregister(connection)
            for number in numbers or (signal.SIGKILL,):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(ended, number)

        def finish() -> None:
            _, status = os.waitpid(pid, 0)
            self._children.remove(ended)
            with suppress(KeyError):
                self._selector.unregister(connection)
            self._selector.unregister(ended)
            with suppress(OSError):
                connection.sendall(f"{status}\n".encode())
            connection.close()
            os.close(ended)

        with suppress(OSError):
            connection.sendall(b"y")
        self._selector.register(connection, selectors.EVENT_READ, heed)
        self._selector.register(ended, selectors.EVENT_READ, finish)


def _receive_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, streams, _, _ = socket.recv_fds(connection, 4, STREAMS)
    size = int.from_bytes(head, "big")
    if len(head) != 4 or len(streams) != STREAMS or size > MOST:
        raise ValueError("no request")
    content = b""
    while len(content) < size:
        piece = connection.recv(size - len(content))
        if not piece:
            raise ValueError("half a request")
        content += piece
    return parse_json(content.decode()), streams


def _suits(request: dict[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether a fork of this process is what the caller would be: same code, Python and session, same variables but the free ones."""
    source = str(Path(request["root"]) / "src")
    same = request["python"] == sys.executable and source == sys.path[0] and request["session"] == os.getsid(0)
    return same and _fixed(request["environment"]) == environment


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in FREE and not name.startswith(FREE_PREFIXES)}


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """In a fork: take over what the caller has, and run its command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # New ones: the old ones remember whether their file could seek.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), sys.stdin.encoding, sys.stdin.errors)
    sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)
    with suppress(OSError):
        os.setpgid(0, request["group"])  # Ctrl-C and Ctrl-Z at the terminal reach it
    for number in HEEDED:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["words"]
    sys.path[:2] = [f"{request['root']}/src", request["root"]]  # as of `python cli.py`
    run: Callable[[], None] = import_module("angiosynth.cli").app
    run()
    sys.exit()


def _writer(descriptor: int, before: TextIO) -> io.TextIOWrapper:
    """As Python makes its standard streams: unbuffered where it was told so, else line by line on a terminal and for errors."""
    unbuffered = isinstance(before, io.TextIOWrapper) and before.write_through
    lines = not unbuffered and (descriptor == 2 or os.isatty(descriptor))
    raw: Any = io.FileIO(descriptor, "w", closefd=False)
    binary = raw if unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(binary, before.encoding, before.errors, line_buffering=lines, write_through=unbuffered)
