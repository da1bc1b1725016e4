"""Progress with remaining time: a bar on a terminal, otherwise a line every ten seconds; and all printing of messages."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from angiosynth.errors import printable
from angiosynth.runtime.secrets import without_secrets

T = TypeVar("T")
LINE_EVERY_S = 10.0


def progress(items: Iterable[T], title: str, total: int, done: int = 0, shares: Sequence[float] = ()) -> Iterator[T]:
    """Yield the items and show progress and remaining time on standard error.

    Args:
        items: items to process, without the first `done` ones.
        title: short title of the work.
        total: total number of items.
        done: number of items that an earlier run has finished.
        shares: (total,) what each item is expected to take, in any unit; empty if all take equally long.
    """
    show = _bar if sys.stderr.isatty() else _lines
    yield from show(items, title, list(shares) or [1.0] * total, done)


def say(*lines: str) -> None:
    """Print lines on standard error, each cleaned by `shown`."""
    print("\n".join(map(shown, lines)), file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """Print lines of a command's result on standard output, each cleaned by `shown`."""
    print("\n".join(map(shown, lines)), flush=True)


def shown(line: str) -> str:
    """Remove passwords from a line and escape control characters. Every message of this project passes through this function."""
    return printable(without_secrets(line))


def print_anything() -> None:
    """Escape characters that the terminal's encoding lacks in all following output, so that printing never raises."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _bar(items: Iterable[T], title: str, shares: Sequence[float], done: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # names may contain brackets
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(shown(title), total=sum(shares), count=f"{done}/{len(shares)}")
        bar.update(task, completed=sum(shares[:done]))
        for worked, item in enumerate(items, start=done):
            yield item
            bar.update(task, advance=shares[worked], count=f"{worked + 1}/{len(shares)}")


def _lines(items: Iterable[T], title: str, shares: Sequence[float], done: int) -> Iterator[T]:
    start = last = time.monotonic()
    for worked, item in enumerate(items, start=done + 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            left = (now - start) / sum(shares[done:worked]) * sum(shares[worked:])
            say(f"{title}: {worked}/{len(shares)}, {duration(left)} left")
    elapsed = time.monotonic() - start
    if elapsed > LINE_EVERY_S:
        say(f"{title}: {len(shares)}/{len(shares)} in {duration(elapsed)}")


def duration(seconds: float) -> str:
    """Format a duration as "40 s" or "3:05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
