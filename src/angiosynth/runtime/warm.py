"""Server that imports slow libraries once and runs each command of `cli.py` in a fork of itself.

Importing torch, SciPy and MLflow takes some seconds (benchmarks/start.py), and `dvc repro` starts one process per stage. A server
(`warm_server`) imports them once, listens on a socket that only its user can access, and forks a child for each command. `cli.py` first
calls `handover.hand_over`. Without a server, or with one that was started in another environment, the command runs in the calling process.

The child takes over the caller's arguments, environment, working folder, umask, open streams and process group. The caller waits, forwards
signals, and exits with the status of the child. The server imports only third-party libraries; each child loads the code of this project
afresh. Threads do not survive a fork, so none may be running: torch starts threads with its first operation; OpenBLAS and jemalloc, which
start threads on import, restart them in a fork (pthread_atfork).
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
from angiosynth.runtime.stop import end_with

LIBRARIES = (
    # imported by the first optimiser and the first MLflow run of a process, two seconds each
    *("torch._dynamo", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("torch", "mlflow", "nibabel", "scipy.ndimage", "scipy.spatial", "scipy.stats", "scipy.special"),
    # imported when a network is logged
    *("mlflow.pyfunc", "sympy.tensor.tensor", "torch._export.serde.serialize"),
    *("torch._inductor.ir", "torch._inductor.package", "torch.export._trace"),
    *("typer", "pydantic", "ruamel.yaml", "jinja2", "rich.progress", "matplotlib.figure", "matplotlib.backends.backend_agg"),
)
# Variables that may differ between server and caller, since commands read them. Others may have been read by libraries on import.
FREE, FREE_PREFIXES = ("PWD", "OLDPWD", "SHLVL", "_"), ("DVC_", "ANGIOSYNTH_", "GIT_")


@contextmanager
def warm_server(root: Path, libraries: Sequence[str] = LIBRARIES, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Run a server within this context and yield the environment variables through which commands find it.

    At the end running commands receive SIGTERM, and the server ends after them. If the system does not support the server, no variables are
    yielded.

    Args:
        root: the checkout whose code it runs.
        libraries: modules that it imports at its start.
        environment: environment of the commands, except for the yielded variables and those of FREE and FREE_PREFIXES.
    """
    with ExitStack() as stack:
        try:
            os.close(os.pidfd_open(os.getpid()))  # requires Linux 5.3
            folder = stack.enter_context(scratch_folder(root / ".work" / "warm"))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            address = str(folder / "socket")
            with short_path(address) as path:
                listener.bind(path)  # some file systems do not support sockets
        except (AttributeError, OSError):
            yield {}
            return
        listener.listen()  # commands wait until the server is ready
        variables = {VARIABLE: address}
        process = stack.enter_context(_server_process(root, listener, {**environment, **variables}, libraries))
        listener.close()
        assert process.stdin is not None
        with process.stdin:  # closing it tells the server to end
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
    """Import libraries, then fork for each command that arrives at a listening socket, until standard input ends. Children never return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the commands
    environment = _fixed(dict(os.environ))  # before the imports, because some libraries add variables
    gc.disable()  # a third of the imports' time; imported objects are never garbage
    for name in libraries:
        import_module(name)
    gc.freeze()  # collecting over imported objects would copy their pages in every child
    gc.enable()
    _Server(socket.socket(fileno=listener), environment, usable=threading.active_count() == 1).run()


class _Server:
    """Event loop over the listening socket, the callers' connections, and the process descriptors (pidfd) of the children."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str], usable: bool) -> None:
        self._listener = listener
        self._environment = environment
        self._usable = usable
        self._selector = selectors.DefaultSelector()
        self._children: set[int] = set()  # process descriptors

    def run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._close)
        while self._listener.fileno() >= 0 or self._children:
            for key, _ in self._selector.select():
                if key.fileobj in {other.fileobj for other in self._selector.get_map().values()}:  # still registered
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
            if not numbers:  # the caller was killed, so the command is killed too
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
    """Whether a fork of this process is equivalent to the caller: same code, Python and session, same variables except the free ones."""
    source = str(Path(request["root"]) / "src")
    same = request["python"] == sys.executable and source == sys.path[0] and request["session"] == os.getsid(0)
    return same and _fixed(request["environment"]) == environment


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in FREE and not name.startswith(FREE_PREFIXES)}


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """In a fork: take over streams, process group, signals, folder, umask and environment of the caller, and run its command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # New stream objects, since the old ones remember whether their file was seekable.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), sys.stdin.encoding, sys.stdin.errors)
    sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)
    with suppress(OSError):
        os.setpgid(0, request["group"])  # so that Ctrl-C and Ctrl-Z of the terminal reach the command
    for number in HEEDED:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.path[:2] = [f"{request['root']}/src", request["root"]]  # as for `python cli.py`
    run: Callable[[], None] = import_module("angiosynth.cli").app
    end_with(run)


def _writer(descriptor: int, before: TextIO) -> io.TextIOWrapper:
    """A stream like Python's standard streams: unbuffered if Python was started so, line-buffered on terminals and for standard error."""
    unbuffered = isinstance(before, io.TextIOWrapper) and before.write_through
    lines = not unbuffered and (descriptor == 2 or os.isatty(descriptor))
    raw: Any = io.FileIO(descriptor, "w", closefd=False)
    binary = raw if unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(binary, before.encoding, before.errors, line_buffering=lines, write_through=unbuffered)
