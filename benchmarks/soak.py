"""Kill `dvc repro` at random moments and check that the results are those of a run that was left alone, bit for bit.

    python -m benchmarks.soak [--kills 200] [--minutes M] [--seed 1] [--keep FOLDER] [--json]

Two scratch projects of tiny volumes with the same settings: one runs undisturbed, the other is killed. A round starts `dvc repro` or
`python cli.py repro` again and again until it ends by itself. Each start gets a moment by the seed: a number of stages that begin, and up
to four seconds more. Three of four kills are SIGKILL to all processes of the run at once, as where the power fails; one of four is to a
single process, as the kernel does where memory runs out. The stages of `dvc repro` are forks of a warm process, which is no part of the
run; `cli.py repro` starts one of its own. After a round the files are compared, then outputs of random stages are removed together with
DVC's record of earlier runs, and the next round makes them anew. After --minutes the round that has begun is ended without kills.
Exit code 1: a start failed that nobody killed, or a result differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from angiosynth.project.dvc_files import repair
from angiosynth.runtime.warm import warm_server
from angiosynth.verbs.repro import stage_of
from benchmarks.same_results import compare_results
from benchmarks.soak_project import environment, new_project
from tests.pipeline import Stage, stages_of

PLAIN, SIDE_BY_SIDE, ONE_BY_ONE = ("-m", "dvc", "repro"), ("cli.py", "repro"), ("cli.py", "repro", "--jobs", "1")
COMMANDS, SHARES = (PLAIN, SIDE_BY_SIDE, ONE_BY_ONE), (8, 3, 1)
MOST_STAGES, MOST_SECONDS = 3, 4.0  # of a start before its kill
REAPED_S = 10.0  # for which killed processes are waited for
SINGLE = 0.25  # share of the kills that hit one process


@dataclass
class Outcome:
    """What a soak has seen.

    Attributes:
        hit: stage -> kills while it ran.
        faults: what went wrong, in words.
        mended: plain `dvc repro` that failed since a kill had damaged a file of DVC's, which was repaired.
    """

    kills: int = 0
    single: int = 0
    starts: int = 0
    rounds: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    mended: int = 0
    files: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """How many kills, and the monotonic time after which there is no other."""

    kills: int
    until: float

    def more(self, outcome: Outcome) -> bool:
        """Whether another kill is asked for."""
        return outcome.kills < self.kills and time.monotonic() < self.until


class Start:
    """One run of DVC in a process group of its own, and what its output tells of the stages that run."""

    def __init__(self, project: Path, words: tuple[str, ...], variables: dict[str, str]) -> None:
        self.begun: list[str] = []
        self.lines: list[str] = []
        self._done: set[str] = set()
        self._side_by_side = words == SIDE_BY_SIDE
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=project,
            env=environment() | (variables if words == PLAIN else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if stage := stage_of(line):
                self._done |= set() if self._side_by_side else set(self.begun)
                self.begun.append(stage)
            elif ": done in " in line:
                self._done.add(line.partition(": done in ")[0])

    @property
    def running(self) -> set[str]:
        """The stages that have begun and not ended."""
        return set(self.begun) - self._done

    def wait_until(self, stages: int, seconds: float) -> bool:
        """Wait for so many stages to begin and then some seconds; False if the run ends first."""
        while len(self.begun) < stages and self.process.poll() is None:
            time.sleep(0.005)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    def kill_all(self) -> None:
        """SIGKILL to all processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill_one(self, moments: random.Random) -> None:
        """SIGKILL to one process; the others end as they find it dead."""
        if members := self._group():
            with suppress(ProcessLookupError):
                os.kill(moments.choice(members), signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(300)

    def end(self) -> int:
        """Wait for the end; processes that outlive the first one are killed. Gives the exit code."""
        code = self.process.wait()
        while self._group():
            self.kill_all()
            time.sleep(0.01)
        # Orphans may be waited for late by the first process of the machine: until then their ids exist, and DVC takes them for running.
        until = time.monotonic() + REAPED_S
        while self._group(zombies=True) and time.monotonic() < until:
            time.sleep(0.05)
        self._reader.join(10)
        return code

    def _group(self, zombies: bool = False) -> list[int]:
        members = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getpgid(process.pid) == self.process.pid and (zombies or process.status() != psutil.STATUS_ZOMBIE):
                    members.append(process.pid)
        return sorted(members)


def soak(project: Path, reference: Path, wanted: Wanted, moments: random.Random, tell: Callable[[str], None]) -> Outcome:
    """Kill runs in `project` until there were enough, each round compared with `reference`."""
    outcome, begun = Outcome(), time.monotonic()
    stages = stages_of((project / "dvc.yaml").read_text(), yaml.safe_load((project / "params.yaml").read_text()))
    with warm_server(project, environment=environment()) as variables:
        while wanted.more(outcome) and not outcome.faults:
            _round(project, variables, wanted, moments, outcome, tell)
            outcome.rounds += 1
            outcome.faults += differences(reference, project)
            outcome.seconds = time.monotonic() - begun
            tell(f"round {outcome.rounds}: {outcome.kills} kills in {outcome.seconds / 60:.0f} min, {len(outcome.faults)} faults")
            if wanted.more(outcome) and not outcome.faults:
                _undo(project, moments.sample(stages, moments.randint(3, len(stages))))
    outcome.files = len(compare_results(reference, project).same)
    return outcome


def _round(
    project: Path, variables: dict[str, str], wanted: Wanted, moments: random.Random, outcome: Outcome, tell: Callable[[str], None]
) -> None:
    """Start, kill, start again, until a run ends by itself."""
    while True:
        (words,) = moments.choices(COMMANDS, SHARES)
        stages, seconds = moments.randint(0, MOST_STAGES), moments.uniform(0.0, MOST_SECONDS)
        single = moments.random() < SINGLE
        start = Start(project, words, variables)
        outcome.starts += 1
        if wanted.more(outcome) and start.wait_until(stages, seconds):
            running = start.running
            start.kill_one(moments) if single else start.kill_all()
            start.end()
            outcome.kills += 1
            outcome.single += single
            outcome.hit.update(running or {"between stages"})
            tell(f"kill {outcome.kills}{' of one process' * single}: {', '.join(sorted(running)) or 'no stage'}")
            continue
        if code := start.end():
            last = "\n".join(start.lines[-30:])
            if words == PLAIN and (repaired := repair(project)):  # `cli.py repro` does it by itself; docs/problems.md names the command
                outcome.mended += 1
                tell(f"repaired: {', '.join(map(str, repaired))}")
                continue
            outcome.faults.append(f"{' '.join(words)} ended with {code} and was not killed:\n{last}")
        return


def differences(reference: Path, project: Path) -> list[str]:
    """What a finished project has that the undisturbed one has not: results, DVC's digests, leftovers, runs without an end."""
    comparison = compare_results(reference, project)
    faults = [f"{path}: {difference}" for path, difference in comparison.differing.items()]
    faults += [f"{path}: only in one of the two" for path in (*comparison.only_before, *comparison.only_after)]
    digests = _digests(reference), _digests(project)
    faults += [
        f"dvc.lock: {path} differs" for path in sorted(digests[0].keys() | digests[1]) if digests[0].get(path) != digests[1].get(path)
    ]
    faults += [f"{path}: left over" for path in _leftovers(project)]
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as database:
        faults += [f"mlflow.db: {line[0]}" for line in database.execute("pragma integrity_check") if line[0] != "ok"]
    return faults


def _digests(project: Path) -> dict[str, str]:
    lock = yaml.safe_load((project / "dvc.lock").read_text()) or {"stages": {}}
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", ())}


def _leftovers(project: Path) -> Iterator[Path]:
    for pattern in ("**/.partial-*", "**/.replaced-*", ".work/**/*.ckpt"):
        yield from (path for path in project.glob(pattern) if not path.name.endswith("-warm"))  # the next warm process clears it


def _undo(project: Path, stages: list[Stage]) -> None:
    """Remove the outputs of stages, and what DVC knows of them in its record of runs and in dvc.lock: it would take them from its cache."""
    shutil.rmtree(project / ".dvc" / "cache" / "runs", ignore_errors=True)
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    for stage in stages:
        lock["stages"].pop(stage.name)
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    for path in (project / name for stage in stages for name in stage.outputs):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def unended_runs(project: Path) -> int:
    """MLflow runs that are still said to be running."""
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as database:
        return int(database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])


def run(folder: Path, wanted: Wanted, seed: int) -> dict[str, Any]:
    """Both projects in a folder, and what was seen, as JSON."""

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    reference = new_project(folder / "undisturbed")
    with warm_server(reference, environment=environment()) as variables:
        undisturbed = Start(reference, PLAIN, variables)
        code = undisturbed.end()
    if code:
        raise SystemExit("\n".join(undisturbed.lines[-30:]))
    tell("the undisturbed run has ended")
    outcome = soak(new_project(folder / "killed"), reference, wanted, random.Random(seed), tell)
    verbs = Counter[str]()
    for stage, count in outcome.hit.items():
        verbs[stage.partition("@")[0]] += count
    facts = {name: getattr(outcome, name) for name in ("kills", "single", "starts", "rounds", "mended", "files", "faults")}
    return {
        **facts,
        "minutes": round(outcome.seconds / 60),
        "hit": dict(verbs.most_common()),
        "unended_runs": unended_runs(folder / "killed"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory(prefix="angiosynth-soak-") as folder:
        seen = run(Path(folder), Wanted(options.kills, time.monotonic() + 60 * options.minutes), options.seed)
    if options.json:
        print(json.dumps(seen, indent=1))
    else:
        print(f"{seen['kills']} kills, {seen['starts']} starts, {seen['files']} files as undisturbed, {len(seen['faults'])} faults")
        for fault in seen["faults"]:
            print(fault)
    sys.exit(bool(seen["faults"]))


if __name__ == "__main__":
    main()
