"""Whether a served U-net answers right and its memory stays flat: four clients, 2,000 requests, every fourth of them malformed.

    python benchmarks/serving.py [--server angiosynth] [--clients 4] [--requests 2000] [--width 32] [--side 256] [--json]

A U-net with random weights answers on 127.0.0.1, in processes of its own: by this project's service as `cli.py serve` runs it, or, with
`--server mlflow`, by `mlflow models serve` from the torch.export program that a training logs. Sound requests are `SOUND` ones by turns, of
1 to 4 images of sides up to `--side`; their answers are compared with the U-net's. Malformed ones are the kinds of `MALFORMED` by turns.
This project's service has to refuse each with the status there, MLflow's with that of `MLFLOW`. Memory is the resident set of the
server's processes after each answer, in MB. Exit code 1 where an answer is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.ports import listening
from angiosynth.runtime.programs import path_with_own_programs
from angiosynth.segmentation.invocations import answer, probabilities
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.unet import build_unet

SOUND = 64  # different sound requests
TOLERANCE = 1e-6  # of a probability: another number of threads orders sums in another way
STARTS_WITHIN_S = 300
JSON = {"Content-Type": "application/json"}
# Name -> body, headers, status.
MALFORMED: dict[str, tuple[bytes, dict[str, str], int]] = {
    "NaN": (b'{"inputs": [[[[NaN]]]]}', JSON, 400),
    "grey levels": (json.dumps({"inputs": np.full((1, 1, 32, 32), 700).tolist()}).encode(), JSON, 400),
    "side of 33": (json.dumps({"inputs": np.zeros((1, 1, 33, 32)).tolist()}).encode(), JSON, 400),
    "strings": (b'{"inputs": [[[["a"]]]]}', JSON, 400),
    "ragged": (b'{"inputs": [[1], [1, 2]]}', JSON, 400),
    "nested": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400),
    "digits": (b'{"inputs": [[[[' + b"1" * 100_000 + b"]]]]}", JSON, 400),
    "cut off": (b'{"inputs": [[[[0.1, 0.', JSON, 400),
    "voxels": (b'{"inputs": [' + b"0," * (1 << 21) + b"0]}", JSON, 413),
    "bytes": (b" " * ((64 << 20) + 1), JSON, 413),
    "CSV": (b"a,b\n1,2\n", {"Content-Type": "text/csv"}, 415),
    "compressed": (b"\x1f\x8b", JSON | {"Content-Encoding": "gzip"}, 415),
}
MLFLOW = dict.fromkeys(MALFORMED, 400) | {"nested": 500, "digits": 500}  # errors of json.loads that its server does not expect


@dataclass(frozen=True)
class Request:
    """A request and what it has to get: `predictions` (n, 1, x, y) for a sound one, a status for a malformed one."""

    name: str
    body: bytes
    headers: dict[str, str]
    status: int = 200
    predictions: NDArray[np.float32] | None = None


@dataclass
class Record:
    """What the clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


@contextmanager
def own_service(served: Served) -> Iterator[tuple[int, int]]:
    """This project's service in a process of its own; gives its port and the process's id."""
    from angiosynth.runtime.service import Service, run

    with listening(0, "") as listener:
        port = listener.getsockname()[1]
        service = Service(partial(answer, served), "benchmark")
        server = multiprocessing.get_context("fork").Process(target=run, args=(service, listener), daemon=True)
        server.start()
    try:
        assert server.pid is not None
        yield port, server.pid
    finally:
        server.kill()
        server.join()


@contextmanager
def mlflow_service(served: Served) -> Iterator[tuple[int, int]]:
    """`mlflow models serve` of the exported program; gives its port and the id of its first process."""
    from angiosynth.tracking.run import traceable
    from angiosynth.tracking.store import save_network

    with listening(0, "") as listener:  # a free port
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="angiosynth-serving-") as folder:
        save_network(*traceable(served, (1, 1, 32, 32)), Path(folder, "model"))
        words = ["-m", "mlflow", "models", "serve", "-m", f"{folder}/model", "--env-manager", "local", "--port", str(port)]
        with Path(folder, "log").open("w") as log:
            environment = os.environ | {"PATH": path_with_own_programs()}  # it calls `uvicorn`
            server = subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + STARTS_WITHIN_S
            while not answers(port):
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit(Path(folder, "log").read_text()[-3000:])
                time.sleep(0.2)
            yield port, server.pid
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


SERVERS = {"angiosynth": own_service, "mlflow": mlflow_service}


def answers(port: int) -> bool:
    """Whether a server is ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def with_children(process: int) -> list[int]:
    """The ids of a process and of all that it has started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(below for child in children for below in with_children(int(child)))]


def resident_mb(processes: list[int]) -> float:
    """The resident set of processes, all together."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def sound_request(served: Served, number: int, side: int) -> Request:
    """Random images with the U-net's own answer."""
    rng = np.random.default_rng(number)
    shape = (int(rng.integers(1, 5)), 1, *(16 * int(rng.integers(2, side // 16 + 1)) for _ in range(2)))
    images = rng.uniform(-1, 1, shape).astype(np.float32)
    body = json.dumps({"inputs": images.tolist()}).encode()
    return Request("sound", body, JSON, predictions=probabilities(served, images))


def fault_of(request: Request, status: int, said: bytes, server: str) -> str:
    """What is wrong with an answer, "" for nothing."""
    if request.predictions is None:
        refused = status == request.status and (server == "mlflow" or said.count(b"\n") == 1)
        return "" if refused else f"{status} for {request.name}"
    if status != 200:
        return f"{status} for a sound request"
    predictions = np.array(json.loads(said)["predictions"], np.float32)
    right = predictions.shape == request.predictions.shape and np.allclose(predictions, request.predictions, rtol=0, atol=TOLERANCE)
    return "" if right else "other numbers"


def ask(port: int, requests: list[Request], record: Record, server: str, processes: list[int]) -> None:
    """One client: its requests, one after the other."""
    for request in requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        try:
            connection.request("POST", "/invocations", request.body, request.headers)
            reply = connection.getresponse()
            status, said = reply.status, reply.read()
        except OSError as error:
            record.wrong.append(f"{type(error).__name__} for {request.name}")
            continue
        finally:
            connection.close()
        if fault := fault_of(request, status, said, server):
            record.wrong.append(fault)
        record.statuses[f"{request.name}: {status}"] += 1
        record.megabytes.append(resident_mb(processes))


def measure(server: str, clients: int, requests: int, width: int, side: int) -> dict[str, object]:
    """Begin a server, let the clients ask, and tell what came of it."""
    served = Served(Segmenter(build_unet(width, 0.0, 1).eval(), -0.5, 0.4, "float32"))
    sound = [sound_request(served, number, side) for number in range(min(SOUND, requests))]
    bad = [Request(name, *rest[:2], MLFLOW[name] if server == "mlflow" else rest[2]) for name, rest in MALFORMED.items()]
    sent = [bad[number // 4 % len(bad)] if number % 4 == 3 else sound[number % len(sound)] for number in range(requests)]
    with SERVERS[server](served) as (port, first):
        record, start = Record(), time.monotonic()
        processes = with_children(first)
        threads = [threading.Thread(target=ask, args=(port, sent[client::clients], record, server, processes)) for client in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    quarter = max(1, len(record.megabytes) // 4)
    return {
        "server": server,
        "clients": clients,
        "requests": requests,
        "seconds": round(time.monotonic() - start, 1),
        "statuses": dict(sorted(record.statuses.items())),
        "wrong": record.wrong,
        "first_quarter_mb": round(float(np.mean(record.megabytes[:quarter])), 1),
        "last_quarter_mb": round(float(np.mean(record.megabytes[-quarter:])), 1),
        "most_mb": round(max(record.megabytes, default=0.0), 1),
        "tenths_mb": [round(float(np.mean(part))) for part in np.array_split(record.megabytes, 10)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, default="angiosynth")
    for name, value in (("clients", 4), ("requests", 2000), ("width", 32), ("side", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    measured = measure(options.server, options.clients, options.requests, options.width, options.side)
    print(json.dumps(measured) if options.json else "\n".join(f"{name}: {value}" for name, value in measured.items()))
    sys.exit(bool(measured["wrong"]))


if __name__ == "__main__":
    main()
