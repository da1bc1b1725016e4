"""Whether the service's memory stays flat: four clients, 2,000 requests, every fourth of them malformed.

    python benchmarks/serving.py [--clients 4] [--requests 2000] [--width 32] [--side 256] [--json]

A U-net with random weights answers in a process of its own on 127.0.0.1. Sound requests have 1 to 4 images of sides up to `--side`;
malformed ones are the kinds of `MALFORMED` by turns. Memory is the process's resident set after each answer, in MB. Exit code 1 where a
request got another status than it should.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.ports import listening

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


@dataclass
class Record:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def serve(listener: socket.socket, width: int) -> None:
    """Answer until the process is ended."""
    from angiosynth.runtime.service import Service, run
    from angiosynth.segmentation.invocations import answer
    from angiosynth.segmentation.prediction import Segmenter
    from angiosynth.segmentation.serving import Served
    from angiosynth.segmentation.unet import build_unet

    served = Served(Segmenter(build_unet(width, 0.0, 1).eval(), -0.5, 0.4, "float32"))
    run(Service(partial(answer, served), "benchmark"), listener)


def resident_mb(pid: int) -> float:
    """A process's resident set."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ask(port: int, numbers: range, side: int, record: Record, pid: int) -> None:
    """One client: its requests, one after the other."""
    for number in numbers:
        rng = np.random.default_rng(number)
        shape = (int(rng.integers(1, 5)), 1, *(16 * int(rng.integers(2, side // 16 + 1)) for _ in range(2)))
        name, body, headers, expected = "sound", json.dumps({"inputs": rng.uniform(-1, 1, shape).tolist()}).encode(), JSON, 200
        if number % 4 == 3:
            name = list(MALFORMED)[number // 4 % len(MALFORMED)]
            body, headers, expected = MALFORMED[name]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        whole = answer.status == 200 and np.shape(json.loads(said)["predictions"]) == shape
        if answer.status != expected or (expected == 200 and not whole) or (expected != 200 and said.count(b"\n") != 1):
            record.wrong.append(f"request {number}, {name}: {answer.status}")
        record.statuses[answer.status] += 1
        record.megabytes.append(resident_mb(pid))


def measure(clients: int, requests: int, width: int, side: int) -> dict[str, object]:
    """Begin a service, let the clients ask, and tell what came of it."""
    with listening(0, "") as listener:
        port = listener.getsockname()[1]
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listener, width), daemon=True)
        server.start()
    try:
        record, start = Record(), time.monotonic()
        assert server.pid is not None
        shares = [range(first, requests, clients) for first in range(clients)]
        threads = [threading.Thread(target=ask, args=(port, share, side, record, server.pid)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.kill()
        server.join()
    quarter = max(1, len(record.megabytes) // 4)
    return {
        "clients": clients,
        "requests": requests,
        "seconds": round(time.monotonic() - start, 1),
        "statuses": dict(sorted(record.statuses.items())),
        "wrong": record.wrong,
        "first_quarter_mb": round(float(np.mean(record.megabytes[:quarter])), 1),
        "last_quarter_mb": round(float(np.mean(record.megabytes[-quarter:])), 1),
        "most_mb": round(max(record.megabytes, default=0.0), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("clients", 4), ("requests", 2000), ("width", 32), ("side", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    found = measure(options.clients, options.requests, options.width, options.side)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    sys.exit(bool(found["wrong"]) or sum(found["statuses"].values()) != options.requests)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
