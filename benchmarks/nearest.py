"""Time the audit's search for nearest neighbours, by faiss, against scikit-learn.

    python benchmarks/nearest.py [--n 41000] [--dimensions 1024] [--share 0.1] [--json]

Both sides search one neighbour of the same random points, with each library's default number of threads. `--share` searches a fraction of
the queries and scales the time, which is linear in their number.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from angiosynth.privacy.nearest import Points, nearest

Search = Callable[[Points, Points], Any]


def ours(queries: Points, references: Points) -> Any:
    return nearest(queries, references)[1][:, 0]


def scikit_learn(queries: Points, references: Points) -> Any:
    neighbours = importlib.import_module("sklearn.neighbors")
    return neighbours.NearestNeighbors(n_neighbors=1, algorithm="brute").fit(references).kneighbors(queries)[1][:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=41_000, help="queries, and as many references")
    parser.add_argument("--dimensions", type=int, default=1024, help="1024: 96x96 patches averaged to 32x32; 9216: full patches")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the queries that is searched")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    references = rng.normal(size=(options.n, options.dimensions)).astype(np.float32)
    queries = rng.normal(size=(max(1, round(options.share * options.n)), options.dimensions)).astype(np.float32)
    sides: dict[str, Search] = {"this project": ours, "scikit-learn": scikit_learn}
    results: dict[str, dict[str, float]] = {}
    expected: Any = None
    for name, search in sides.items():
        search(queries[:32], references[:32])  # a warm-up, which imports the library
        start = time.perf_counter()
        rows = search(queries, references)
        seconds = (time.perf_counter() - start) * options.n / len(queries)
        expected = rows if expected is None else expected
        results[name] = {"seconds": round(seconds, 2), "same": float((rows == expected).mean())}
        print(f"{name:<14}{seconds:>9.1f} s   {100 * results[name]['same']:.2f}% the same neighbour", flush=True)
    if options.json:
        print(json.dumps({"n": options.n, "dimensions": options.dimensions, "share": options.share, "sides": results}))


if __name__ == "__main__":
    main()
