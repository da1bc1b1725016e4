"""Progress with time left: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from angiosynth.errors import printable
from angiosynth.runtime.secrets import without_secrets

T = TypeVar("T")
LINE_EVERY_S = 10.0


def progress(items: Iterable[T], what: str, total: int, done: int = 0) -> Iterator[T]:
    """Yield the items while telling on standard error how far `what` is and how long it will take.

    Args:
        items: what is to be worked through, the `done` first ones left out.
        what: a few words that name the work.
        total: number of items in all.
        done: number of items that an earlier run finished.
    """
    if sys.stderr.isatty():
        yield from _bar(items, what, total, done)
    else:
        yield from _lines(items, what, total, done)


def say(*lines: str) -> None:
    """Lines about what goes on, on standard error. What a name holds breaks none of them."""
    print("\n".join(map(shown, lines)), file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """A command's result on standard output; lines as of `say`."""
    print("\n".join(map(shown, lines)), flush=True)


def shown(line: str) -> str:
    """A line as it is shown: without passwords, and without what a terminal would obey. Every message of this project goes through here."""
    return printable(without_secrets(line))


def print_anything() -> None:
    """From now on printing raises nowhere: what the terminal's encoding has no sign for is escaped, as on standard error always."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _bar(items: Iterable[T], what: str, total: int, done: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # a name such as [x] is no markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(shown(what), total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def _lines(items: Iterable[T], what: str, total: int, done: int) -> Iterator[T]:
    start = last = time.monotonic()
    for worked, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            left = (now - start) / worked * (total - done - worked)
            say(f"{what}: {done + worked}/{total}, {duration(left)} left")
    elapsed = time.monotonic() - start
    if elapsed > LINE_EVERY_S:
        say(f"{what}: {total}/{total} in {duration(elapsed)}")


def duration(seconds: float) -> str:
    """ "40 s", "3:05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
