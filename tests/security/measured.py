"""Reads files in a process of its own, one after the other, and tells what each reading said and how far the process grew."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 120  # for all together; a reading that hangs ends here


@dataclass(frozen=True)
class Answer:
    """refused: the text of the InputError, "" where the file was read; raised: any other exception; grown: bytes, over all so far."""

    refused: str
    raised: str
    grown: int


def readers() -> dict[str, Callable[[Path], object]]:
    """Kind of input -> what reads it, as the commands do."""
    from angiosynth.data.nifti import canonical_shape, load_mask, read_volume
    from angiosynth.data.patches import open_patch_set
    from angiosynth.data.split import load_split
    from angiosynth.evaluation.patients import read_scores
    from angiosynth.importing.importing import clean_scan
    from angiosynth.importing.tables import read_table
    from angiosynth.release.checksums import verify
    from angiosynth.release.package import open_package
    from angiosynth.runtime.output import read_json
    from angiosynth.segmentation.facts import read_facts
    from angiosynth.segmentation.storage import load_segmenter
    from angiosynth.settings import load_settings

    return {
        "scan": read_volume,
        "mask": load_mask,
        "shape": canonical_shape,
        "import": clean_scan,
        "package": lambda folder: open_package(folder, None, folder.with_name(f"{folder.name}-unpacked")),
        "signed package": lambda folder: verify(folder, folder.with_name("key")),
        "settings": load_settings,
        "table": lambda path: read_table(path, ("scan",)),
        "scores": read_scores,
        "json": read_json,
        "facts": read_facts,
        "split": lambda path: load_split(path.parent, path.stem),
        "unet": load_segmenter,
        "set": open_patch_set,
    }


def measure(cases: Mapping[str, tuple[str, Path]]) -> dict[str, Answer]:
    """Read each case, (kind of input, path), by its name; a process that dies or hangs is an error that names the last case."""
    words = [sys.executable, str(Path(__file__).resolve())]
    given = json.dumps({name: [kind, str(path)] for name, (kind, path) in cases.items()})
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, input=given, capture_output=True, text=True, env=environment, timeout=LONGEST_S, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died after {answers[-1:]}: {done.stderr[-2000:]}"
    return {answer.pop("name"): Answer(**answer) for answer in answers}


def _main() -> None:
    from angiosynth.errors import InputError

    known = readers()
    start = _memory()
    cases: dict[str, Any] = json.load(sys.stdin)
    for name, (kind, path) in cases.items():
        refused = raised = ""
        try:
            known[kind](Path(path))
        except InputError as error:
            refused = str(error)
        except BaseException as error:
            raised = f"{type(error).__name__}: {error}"
        print(json.dumps({"name": name, "refused": refused, "raised": raised, "grown": _memory() - start}), flush=True)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _main()
