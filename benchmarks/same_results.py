"""Compare the results of two runs, to check that a change of the code has not changed them.

    python benchmarks/same_results.py BEFORE AFTER [--moved OLD=NEW ...] [--json]

BEFORE and AFTER are project folders in which `dvc repro` has run. All files of the folders in RESULTS are compared: tables and JSON by
value, compressed files by content, weights and arrays byte by byte. --moved declares that a folder or file was renamed from OLD to NEW. The
exit code is 1 if a file of both projects differs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = ("splits", "data/phantom", "data/cohort", "data/patches", "data/synthetic", "models", "predictions", "metrics", "audit")
FIGURES = (".png", ".svg", ".html")  # not compared: they contain texts and versions of libraries, which may change
TABLES = (".csv", ".tsv")


@dataclass
class Comparison:
    """The compared paths, named as in AFTER; `differing` maps a path to its first difference."""

    same: list[str] = field(default_factory=list)
    differing: dict[str, str] = field(default_factory=dict)
    only_before: list[str] = field(default_factory=list)
    only_after: list[str] = field(default_factory=list)


def compare_results(before: Path, after: Path, moved: Sequence[tuple[str, str]] = ()) -> Comparison:
    """Compare all result files of two projects."""
    old = {_moved(path, moved): before / path for path in _results(before)}
    new = {path: after / path for path in _results(after)}
    comparison = Comparison(only_before=sorted(old.keys() - new.keys()), only_after=sorted(new.keys() - old.keys()))
    for path in sorted(old.keys() & new.keys()):
        if difference := first_difference(old[path], new[path]):
            comparison.differing[path] = difference
        else:
            comparison.same.append(path)
    return comparison


def first_difference(before: Path, after: Path) -> str:
    """Describe the first difference of two files in terms of their format; "" if they are equal."""
    old, new = before.read_bytes(), after.read_bytes()
    if before.suffix == ".gz":
        old, new = gzip.decompress(old), gzip.decompress(new)
    if old == new:
        return ""
    if before.suffix == ".json":
        pairs = _leaves(json.loads(old)), _leaves(json.loads(new))
        differing = [name for name in {**pairs[0], **pairs[1]} if pairs[0].get(name, ...) != pairs[1].get(name, ...)]
        return f"{differing[0]}: {_shown(pairs[0], differing[0])}, {_shown(pairs[1], differing[0])}" if differing else ""
    if before.suffix in TABLES:
        rows = old.decode().splitlines(), new.decode().splitlines()
        if len(rows[0]) != len(rows[1]):
            return f"{len(rows[0])} lines, {len(rows[1])} lines"
        number = next((number for number, (first, second) in enumerate(zip(*rows, strict=True)) if first != second), None)
        return "" if number is None else f"line {number + 1}: {rows[0][number]} | {rows[1][number]}"
    place = next((place for place, (first, second) in enumerate(zip(old, new, strict=False)) if first != second), min(len(old), len(new)))
    return f"{len(old):,} bytes, {len(new):,} bytes, from byte {place:,}"


def _results(project: Path) -> Iterator[str]:
    for folder in RESULTS:
        for path in (project / folder).rglob("*"):
            if path.is_file() and path.suffix not in FIGURES and path.name != ".gitignore":
                yield path.relative_to(project).as_posix()


def _moved(path: str, moved: Sequence[tuple[str, str]]) -> str:
    for old, new in moved:
        if path == old or path.startswith(f"{old}/"):
            return new + path.removeprefix(old)
    return path


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten a JSON value: dotted name of each leaf -> the leaf."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if children is None:
        return {name: value}
    return {leaf: content for key, child in children for leaf, content in _leaves(child, f"{name}.{key}".lstrip(".")).items()}


def _shown(leaves: dict[str, Any], name: str) -> str:
    return str(leaves[name]) if name in leaves else "missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--moved", action="append", default=[], metavar="OLD=NEW", help="may be given several times")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    comparison = compare_results(options.before, options.after, [tuple(rename.split("=", 1)) for rename in options.moved])
    if options.json:
        print(json.dumps(asdict(comparison), indent=1))
    else:
        for path, difference in comparison.differing.items():
            print(f"differs: {path}: {difference}")
        for title, paths in (("only before", comparison.only_before), ("only after", comparison.only_after)):
            for path in paths:
                print(f"{title}: {path}")
        print(f"{len(comparison.same)} files are the same, {len(comparison.differing)} differ")
    if not comparison.same and not comparison.differing:
        sys.exit(f"{options.before} and {options.after} have no result file in common")
    sys.exit(bool(comparison.differing))


if __name__ == "__main__":
    main()
