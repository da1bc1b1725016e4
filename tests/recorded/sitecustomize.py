"""Python imports this at its start where the folder is on PYTHONPATH: what a command of cli.py opens to read is written down.

OPENED_FILES names the folder that the lists go to, a JSON file a process: {"command": "python cli.py ...", "forked": whether it is a fork
of the process that imported this, "opened": [absolute paths]}. RECORDING has the commands, one a line, for which ANGIOSYNTH_TRACKING is
unset: a repro has one environment for all its stages.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

opened: set[str] = set()
STARTED = os.getpid()


def notice(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open":
        return
    path, mode, flags = arguments
    reads = "r" in mode if isinstance(mode, str) else isinstance(flags, int) and flags & os.O_ACCMODE == os.O_RDONLY
    if reads and isinstance(path, (str, bytes, os.PathLike)):
        opened.add(os.path.abspath(os.fsdecode(path)))


def write() -> None:
    if Path(sys.argv[0]).name == "cli.py":
        folder = Path(os.environ["OPENED_FILES"])
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"command": " ".join(["python", "cli.py", *sys.argv[1:]]), "forked": os.getpid() != STARTED, "opened": sorted(opened)}
        (folder / f"{os.getpid()}.json").write_text(json.dumps(facts))


if "OPENED_FILES" in os.environ:
    sys.addaudithook(notice)
    atexit.register(write)
if " ".join(sys.orig_argv[2:]) in os.environ.get("RECORDING", "").splitlines():
    os.environ.pop("ANGIOSYNTH_TRACKING", None)
