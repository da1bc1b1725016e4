"""What the search for nearest neighbours costs: as the audit does it, by faiss, against scikit-learn.

    python benchmarks/nearest.py [--n 41000] [--dimensions 1024] [--share 0.1] [--json]

The same random points on every side, one neighbour each, each library's own defaults for threads. `--share` searches that part of the
queries and multiplies: the cost is linear in them.
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
    parser.add_argument("--dimensions", type=int, default=1024, help="1024: 96x96 patches averaged down to 32x32; 9216: as they are")
    parser.add_argument("--share", type=float, default=1.0, help="part of the queries that is searched")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    words = parser.parse_args()
    rng = np.random.default_rng(1)
    references = rng.normal(size=(words.n, words.dimensions)).astype(np.float32)
    queries = rng.normal(size=(max(1, round(words.share * words.n)), words.dimensions)).astype(np.float32)
    sides: dict[str, Search] = {"this project": ours, "scikit-learn": scikit_learn}
    found: dict[str, dict[str, float]] = {}
    wanted: Any = None
    for name, search in sides.items():
        search(queries[:32], references[:32])  # imports
        start = time.perf_counter()
        rows = search(queries, references)
        seconds = (time.perf_counter() - start) * words.n / len(queries)
        wanted = rows if wanted is None else wanted
        found[name] = {"seconds": round(seconds, 2), "same": float((rows == wanted).mean())}
        print(f"{name:<14}{seconds:>9.1f} s   {100 * found[name]['same']:.2f}% the same neighbour", flush=True)
    if words.json:
        print(json.dumps({"n": words.n, "dimensions": words.dimensions, "share": words.share, "sides": found}))


if __name__ == "__main__":
    main()
