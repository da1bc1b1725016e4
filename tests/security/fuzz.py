"""Reads broken files for a while: everything that comes from outside must be refused by one line, soon, and in little memory.

    PYTHONPATH=src:. python tests/security/fuzz.py --minutes 10 --json fuzz.json

Each target has a process of its own, in which broken variants of sound files (mutations.py) are read one after the other. A
failure is any exception but InputError, a message of several lines, a reading of more than five seconds, a process that grows by more than
300 MB or dies. Prints the number of inputs and the failures; every one can be made again by its target and number.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SLOWEST_S, MOST_BYTES = 5, 300 << 20


@dataclass(frozen=True)
class Target:
    """A kind of input.

    files: name -> mutation, of the sound folder's files that are broken, one at a time.
    read: reads the folder; what it raises is judged.
    """

    files: Mapping[str, Callable[[bytes, random.Random], bytes]]
    read: Callable[[Path], object]


def make_sound(folder: Path) -> None:
    """A small sound file of every kind."""
    import numpy as np
    import yaml

    from angiosynth.data.patches import PatchSet
    from angiosynth.evaluation.patients import write_scores
    from angiosynth.release.card import Terms
    from angiosynth.release.package import SharedAudit, build_package
    from angiosynth.runtime.output import write_json
    from angiosynth.segmentation.prediction import Segmenter
    from angiosynth.segmentation.storage import save_unet
    from angiosynth.segmentation.training import TrainedUnet
    from angiosynth.segmentation.unet import build_unet
    from angiosynth.settings import IntensitySettings, UnetSettings
    from angiosynth.settings.audit import ReleaseSettings
    from tests.factories import make_arrays, make_score, tiny_patches, tiny_tree, write_nifti

    scan, _, label = make_arrays((20, 22, 5), 3, tubes=3)
    write_nifti(folder / "scan.nii", scan)
    write_nifti(folder / "mask.nii", label)
    (folder / "params.yaml").write_text(yaml.safe_dump(tiny_tree()))
    (folder / "table.csv").write_text("scan,vessels,brain\n" + "".join(f"a{n}/tof.nii,a{n}/v.nii,\n" for n in range(9)))
    write_scores(folder / "scores.csv", [make_score(f"sub-{n:02d}", 0.5 + n / 50) for n in range(9)])
    intensity = IntensitySettings()
    facts = {"data": "real", "intensity": intensity.model_dump(mode="json")}
    trained = TrainedUnet(Segmenter(build_unet(2, 0.0, 1), -0.2, 0.5, "float32"), 5, {"val_dsc": 0.5, "val_hd95_mm": 2.0}, [])
    (folder / "unet").mkdir()
    save_unet(folder / "unet", trained, UnetSettings(width=2, steps=5, precision="float32"), facts)
    write_json(folder / "site-a.json", {"train": ["sub-01"], "validation": ["sub-02"], "test": [], "unlabelled": [], "seed": 1})
    pairs = tiny_patches()
    (folder / "set").mkdir()
    for name in ("image", "label"):
        np.save(folder / "set" / f"{name}.npy", getattr(pairs, name))
    (folder / "set" / "index.csv").write_text("patient,z,x,y,kind\n" + "".join(f"{name},1,2,3,brain\n" for name in pairs.patient))
    write_json(folder / "set" / "set.json", {"n": len(pairs), "size": 16, "intensity": facts["intensity"]})
    meta = {"model": "wgan-gp", "n": 12, "size": 16, "seed": 1, "label_threshold": 0.0, "vessel_fraction": 0.2, **pairs.meta}
    audit: dict[str, Any] = {"model": "wgan-gp", "set_digest": "a", "audit_digest": "b", "patients": {"training": 8, "test": 4}}
    audit |= {"verdicts": {"set": "within", "generator": "unclear", "critic": "over"}, "limits": {"auc": 0.7}}
    (folder / "audit").mkdir()
    write_json(folder / "audit" / "audit.json", audit)
    (folder / "audit" / "index.html").write_text("<p>page</p>")
    synthetic = PatchSet(pairs.image, pairs.label, pairs.patient, pairs.rows, meta, folder)
    build_package(
        folder / "package",
        synthetic,
        SharedAudit(audit, folder / "audit"),
        Terms(ReleaseSettings(creator="a lab", url="https://lab.example/set"), "2026-01-31"),
    )


def targets() -> dict[str, Target]:
    """Name -> what is read."""
    from angiosynth.data.nifti import canonical_shape, load_mask, read_volume
    from angiosynth.data.patches import open_patch_set
    from angiosynth.data.split import load_split
    from angiosynth.evaluation.patients import read_scores
    from angiosynth.importing.tables import read_table
    from angiosynth.release.checksums import write_checksums
    from angiosynth.release.package import open_package
    from angiosynth.segmentation.storage import load_segmenter
    from angiosynth.settings import load_settings
    from tests.security.mutations import (
        broken_archive,
        broken_array,
        broken_bytes,
        broken_json,
        broken_nifti,
        broken_table,
        broken_yaml,
    )

    def package(folder: Path) -> None:
        scratch = folder / "unpacked"
        shutil.rmtree(scratch, ignore_errors=True)
        if (folder / "package" / "SHA256SUMS").read_bytes() == sums:  # what is broken has checksums that fit
            write_checksums(folder / "package")
        open_package(folder / "package", None, scratch)

    def tables(folder: Path) -> None:
        _all(lambda: read_table(folder / "table.csv", ("scan",)), lambda: read_scores(folder / "scores.csv"))

    def scans(folder: Path) -> None:
        _all(lambda: read_volume(folder / "scan.nii"), lambda: canonical_shape(folder / "scan.nii"), lambda: load_mask(folder / "mask.nii"))

    with tempfile.TemporaryDirectory() as sound:
        make_sound(Path(sound))
        sums = (Path(sound) / "package" / "SHA256SUMS").read_bytes()
    parts = {"package/patches.npz": broken_archive, "package/card.json": broken_json, "package/SHA256SUMS": broken_bytes}
    arrays = {"set/image.npy": broken_array, "set/label.npy": broken_array, "set/index.csv": broken_table, "set/set.json": broken_json}
    return {
        "nifti": Target({"scan.nii": broken_nifti, "mask.nii": broken_nifti}, scans),
        "package": Target(parts, package),
        "params": Target({"params.yaml": broken_yaml}, lambda folder: load_settings(folder / "params.yaml")),
        "tables": Target({"table.csv": broken_table, "scores.csv": broken_table}, tables),
        "json": Target({"site-a.json": broken_json}, lambda folder: load_split(folder, "site-a")),
        "weights": Target({"unet/unet.json": broken_json, "unet/unet.pt": broken_archive}, lambda folder: load_segmenter(folder / "unet")),
        "patches": Target(arrays, lambda folder: open_patch_set(folder / "set")),
    }


def _all(*reads: Callable[[], object]) -> None:
    """Call all of them, and raise the last refusal."""
    from angiosynth.errors import InputError

    refusal = None
    for read in reads:
        try:
            read()
        except InputError as error:
            check_message(error)
            refusal = error
    if refusal:
        raise refusal


def check_message(error: Exception) -> None:
    """See that a refusal is one line that can be read."""
    text = str(error)
    if not text or "\n" in text or len(text) > 2000:
        raise ValueError(f"a message of {len(text)} characters: {text[:300]!r}")


def child(name: str, seed: int, first: int, seconds: float, most: int, log: Path) -> dict[str, Any]:
    """Read broken inputs of one target for so long, from the number `first` on; gives their number and the failures."""
    from angiosynth.errors import InputError

    target = targets()[name]
    failures: list[dict[str, Any]] = []
    refused = 0
    with tempfile.TemporaryDirectory(prefix="angiosynth-fuzz-") as scratch:
        folder = Path(scratch)
        make_sound(folder)
        sound = {file: (folder / file).read_bytes() for file in target.files}
        target.read(folder)  # a sound one: what it takes is no growth
        signal.signal(signal.SIGALRM, _too_slow)
        end, number = time.monotonic() + seconds, first
        while time.monotonic() < end and number - first < most:
            rng = random.Random(f"{seed}/{name}/{number}")
            file = rng.choice(sorted(target.files))
            log.write_text(str(number))
            (folder / file).write_bytes(target.files[file](sound[file], rng))
            memory = _memory()
            signal.alarm(SLOWEST_S)
            try:
                target.read(folder)
            except InputError as error:
                refused += 1
                try:
                    check_message(error)
                except ValueError as fault:
                    failures.append(_failure(name, number, file, fault))
            except BaseException as error:
                failures.append(_failure(name, number, file, error))
            finally:
                signal.alarm(0)
                (folder / file).write_bytes(sound[file])
            if (now := _memory()) - memory > MOST_BYTES:
                failures.append(_failure(name, number, file, MemoryError(f"grew by {(now - memory) >> 20} MB")))
            number += 1
    return {"inputs": number - first, "refused": refused, "failures": failures}


def _too_slow(signal_number: int, frame: object) -> None:
    raise TimeoutError(f"more than {SLOWEST_S} s")


def _failure(name: str, number: int, file: str, error: BaseException) -> dict[str, Any]:
    where = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    place = f"{Path(where[0].filename).name}:{where[0].lineno}" if where else ""
    return {"target": name, "number": number, "file": file, "error": f"{type(error).__name__}: {str(error)[:300]}", "where": place}


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def fuzz(names: list[str], seed: int, seconds: float, most: int = 1 << 40) -> dict[str, Any]:
    """Read each target's broken inputs for so long in a process of its own; one that dies is a failure, and another goes on behind it."""
    result: dict[str, Any] = {"inputs": {}, "refused": {}, "failures": []}
    for name in names:
        end, first = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0 and first < most:
            with tempfile.TemporaryDirectory() as scratch:
                log = Path(scratch) / "number"
                words = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--seed", str(seed)]
                words += ["--first", str(first), "--seconds", str(left), "--most", str(most - first), "--log", str(log)]
                done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False, env=_environment())
                if done.returncode == 0:
                    part = json.loads(done.stdout.splitlines()[-1])
                    result["failures"] += part["failures"]
                    result["refused"][name] = result["refused"].get(name, 0) + part["refused"]
                    first += part["inputs"]
                    break
                died = int(log.read_text()) if log.exists() else first
                error = f"died with {done.returncode}: {done.stderr[-300:]}"
                result["failures"].append({"target": name, "number": died, "file": "", "error": error, "where": ""})
                first = died + 1
                if not log.exists():
                    break
        result["inputs"][name] = first
    return result


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all; every target has the same share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", nargs="*", help="by default all")
    parser.add_argument("--json", type=Path, help="where the result goes")
    for name, kind in (("child", str), ("first", int), ("seconds", float), ("most", int), ("log", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.seed, options.first, options.seconds, options.most, options.log)))
        return
    names = options.targets or list(NAMES)
    result = fuzz(names, options.seed, 60 * options.minutes / len(names))
    text = json.dumps(result, indent=2, sort_keys=True)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(1 if result["failures"] else 0)


NAMES = ("nifti", "package", "params", "tables", "json", "weights", "patches")

if __name__ == "__main__":
    main()
