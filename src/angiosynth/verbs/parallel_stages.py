"""Stages of dvc.yaml side by side: `dvc repro` runs one at a time, but several of it may run at once, each with a stage of its own.

A stage starts when all that it needs have ended; of several that could, the one with the longest chain of stages behind it (list scheduling
by critical path, Graham 1969). The same rule, played through with the estimated seconds, says how long all will take.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from angiosynth.runtime.progress import duration, say, tell

# Lines that DVC prints at the end of every call: of one stage among many they only hide the others.
ADVICE = re.compile(
    r"((Updating|Generating) lock file '|To (track the changes|enable auto staging)|\tgit add|\tdvc config|Use `dvc push`|$)"
)


@dataclass(frozen=True)
class Planned:
    """A stage that has changed, or that rests on one that has, its command, and the planned stages that it needs."""

    name: str
    command: str
    needs: frozenset[str] = frozenset()


class Plan:
    """An order of stages with their estimated seconds, for a number of stages at a time.

    Args:
        stages: each after those that it needs.
        seconds: of each by name; 1 where there is none.
        jobs: stages at a time.
    """

    def __init__(self, stages: Sequence[Planned], seconds: Mapping[str, float], jobs: int) -> None:
        self.jobs = jobs
        self.seconds = {stage.name: seconds.get(stage.name, 1.0) for stage in stages}
        self._needs = {stage.name: stage.needs for stage in stages}
        path = dict(self.seconds)  # of a stage and the longest chain of those that wait for it
        for stage in reversed(stages):
            for name in stage.needs:
                path[name] = max(path[name], self.seconds[name] + path[stage.name])
        self.order = sorted(path, key=lambda name: -path[name])

    def ready(self, done: Collection[str], begun: Collection[str]) -> list[str]:
        """Stages that can start, the most urgent first; `begun` are those that have started, whether they have ended or not."""
        return [name for name in self.order if name not in begun and self._needs[name] <= set(done)]

    def time_left(self, done: Collection[str], running: Mapping[str, float]) -> float:
        """Seconds until all have ended; `running` holds the seconds for which those that run have run."""
        ended, now = set(done), 0.0
        ends = {name: max(0.0, self.seconds[name] - taken) for name, taken in running.items()}
        while len(ended) < len(self.order):
            for name in self.ready(ended, ended | ends.keys())[: max(0, self.jobs - len(ends))]:
                ends[name] = now + self.seconds[name]
            first = min(ends, key=lambda name: ends[name])
            now = ends.pop(first)
            ended.add(first)
        return now


class Clock:
    """How much longer stages take than was thought, by those that have ended."""

    PRIOR_S = 20.0  # one short stage does not change the whole estimate

    def __init__(self) -> None:
        self._expected = self._taken = self.PRIOR_S

    def add(self, expected: float, taken: float) -> None:
        """Count a stage that has ended."""
        self._expected += expected
        self._taken += taken

    @property
    def factor(self) -> float:
        """Seconds taken over seconds expected."""
        return self._taken / self._expected


class ParallelStages:
    """Runs a plan's stages, each by `dvc repro --single-item`.

    Args:
        root: the project.
        plan: what to run.
        environment: of the stages.
        announce: called when a stage starts, with its name, its number, and the seconds left for all.
    """

    def __init__(self, root: Path, plan: Plan, environment: Mapping[str, str], announce: Callable[[str, int, float], None]) -> None:
        self._root, self._plan, self._environment, self._announce = root, plan, environment, announce
        self._processes: set[subprocess.Popen[str]] = set()
        self._clock = Clock()

    def run(self) -> int:
        """Run all; gives 0, or DVC's exit code for the first stage that failed. Those beside it go on to their end, no other begins."""
        try:
            return self._run()
        except KeyboardInterrupt:  # a terminal sends it to DVC too
            raise
        except BaseException:
            for process in list(self._processes):  # threads still take out those that end
                process.terminate()
            raise

    def _run(self) -> int:
        done: set[str] = set()
        running: dict[Future[int], tuple[str, float]] = {}
        begun: set[str] = set()
        code = 0
        pool = ThreadPoolExecutor(self._plan.jobs)
        while len(done) < len(self._plan.order) and (running or not code):
            # start what can start
            for name in self._plan.ready(done, begun)[: self._plan.jobs - len(running)] if not code else ():
                begun.add(name)
                running[pool.submit(self._dvc, name)] = name, time.monotonic()
                taken = {other: time.monotonic() - start for other, start in running.values()}
                self._announce(name, len(begun), self._clock.factor * self._plan.time_left(done, taken))
            # wait for the first that ends
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                name, start = running.pop(future)
                taken_s = time.monotonic() - start
                self._clock.add(self._plan.seconds[name], taken_s)
                done.add(name)
                if future.result() == 0:
                    say(f"{name}: done in {duration(taken_s)}")
                code = code or future.result()
        pool.shutdown()
        return code

    def _dvc(self, name: str) -> int:
        words = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
        # One stream: bars of several stages would overwrite each other, so their progress comes as lines.
        process = subprocess.Popen(
            words,
            cwd=self._root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
        with process:
            self._processes.add(process)
            assert process.stdout is not None
            for line in process.stdout:
                if not ADVICE.match(line):
                    tell(line.rstrip("\n"))
        self._processes.discard(process)
        if process.returncode:
            say(f"{name}: failed; what runs beside it goes on, nothing else begins")
        return process.returncode
