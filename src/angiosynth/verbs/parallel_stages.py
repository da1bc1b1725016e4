"""Run stages of dvc.yaml in parallel.

One `dvc repro` runs one stage at a time. DVC allows several `dvc repro --single-item` processes at once, and each runs one stage.

Scheduling is list scheduling by critical path (R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
A stage is ready when all stages that it needs have ended. Of several ready stages, the one with the longest remaining path starts first:
its estimated seconds plus those of the longest chain of stages that depend on it. A stage whose memory does not fit beside the running
stages waits, and a smaller one may start before it. A simulation of the same rule with the estimated seconds gives the time left.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import inf
from pathlib import Path

from angiosynth.runtime.progress import duration, say, tell

# Advice that DVC prints at the end of every call, left out because each stage would repeat it.
ADVICE = re.compile(
    r"((Updating|Generating) lock file '|To (track the changes|enable auto staging)|\tgit add|\tdvc config|Use `dvc push`|$)"
)


@dataclass(frozen=True)
class Planned:
    """A stage to run, because it or a stage that it depends on has changed; its command; and the planned stages that it needs."""

    name: str
    command: str
    needs: frozenset[str] = frozenset()


class Plan:
    """An order of stages by critical path, with their estimated seconds.

    Args:
        stages: in topological order: each after the stages that it needs.
        seconds: the estimate of each stage by name; 1 for a stage without one.
        jobs: the most stages that run at once.
        memory: the memory that stages need, in bytes, by name; 0 for a stage without an entry.
        free: the memory for all stages that run at once, in bytes. A stage that needs more runs alone.
    """

    def __init__(
        self, stages: Sequence[Planned], seconds: Mapping[str, float], jobs: int, memory: Mapping[str, int] | None = None, free: float = inf
    ) -> None:
        self.jobs = jobs
        self._memory, self._free = memory or {}, free
        self.seconds = {stage.name: seconds.get(stage.name, 1.0) for stage in stages}
        self._needs = {stage.name: stage.needs for stage in stages}
        # Longest remaining path: in reverse topological order, the path of a stage is final before the stages that it needs read it.
        path = dict(self.seconds)
        for stage in reversed(stages):
            for name in stage.needs:
                path[name] = max(path[name], self.seconds[name] + path[stage.name])
        self.order = sorted(path, key=lambda name: -path[name])

    def starts(self, done: Collection[str], running: Collection[str]) -> list[str]:
        """Return the stages to start beside the running ones, longest remaining path first, as many as there are places and memory for."""
        ended, beside = set(done), list(running)
        taken = sum(self._memory.get(name, 0) for name in beside)
        for name in self.order:
            if name in ended or name in beside or not self._needs[name] <= ended or len(beside) >= self.jobs:
                continue
            needed = self._memory.get(name, 0)
            if not beside or taken + needed <= self._free:
                beside.append(name)
                taken += needed
        return beside[len(running) :]

    def time_left(self, done: Collection[str], running: Mapping[str, float]) -> float:
        """Simulate the plan and return the seconds until all stages have ended.

        Args:
            done: names of the stages that have ended.
            running: for each running stage, the seconds since its start.
        """
        ended, now = set(done), 0.0
        ends = {name: max(0.0, self.seconds[name] - taken) for name, taken in running.items()}
        while len(ended) < len(self.order):
            # Start ready stages in the free places, then advance the clock to the first end.
            for name in self.starts(ended, ends):
                ends[name] = now + self.seconds[name]
            first = min(ends, key=lambda name: ends[name])
            now = ends.pop(first)
            ended.add(first)
        return now


class Clock:
    """The ratio of actual to estimated seconds over the stages that have ended."""

    PRIOR_S = 20.0  # added to both sums, so that one short stage changes the ratio little

    def __init__(self) -> None:
        self._expected = self._taken = self.PRIOR_S

    def add(self, expected: float, taken: float) -> None:
        """Add a stage that has ended."""
        self._expected += expected
        self._taken += taken

    @property
    def factor(self) -> float:
        """Seconds taken divided by seconds expected."""
        return self._taken / self._expected


class ParallelStages:
    """Run a plan's stages, each by `dvc repro --single-item`.

    Args:
        root: the project's folder.
        plan: the stages to run.
        environment: environment variables of the stages.
        announce: called when a stage starts, with its name, its number, and the seconds left for all stages.
    """

    def __init__(self, root: Path, plan: Plan, environment: Mapping[str, str], announce: Callable[[str, int, float], None]) -> None:
        self._root, self._plan, self._environment, self._announce = root, plan, environment, announce
        self._processes: set[subprocess.Popen[str]] = set()
        self._clock = Clock()

    def run(self) -> int:
        """Run all stages.

        After a failure the running stages finish, and no other stage starts.

        Returns:
            0, or DVC's exit code for the first stage that failed.
        """
        try:
            return self._run()
        except KeyboardInterrupt:  # a terminal sends the signal to the DVC processes too
            raise
        except BaseException:
            for process in list(self._processes):  # a copy: threads remove processes that end
                process.terminate()
            raise

    def _run(self) -> int:
        done: set[str] = set()
        running: dict[Future[int], tuple[str, float]] = {}
        code = 0
        pool = ThreadPoolExecutor(self._plan.jobs)
        while len(done) < len(self._plan.order) and (running or not code):
            # Start ready stages in the free places; none after a failure.
            for name in self._plan.starts(done, [name for name, _ in running.values()]) if not code else ():
                running[pool.submit(self._dvc, name)] = name, time.monotonic()
                taken = {other: time.monotonic() - start for other, start in running.values()}
                self._announce(name, len(done) + len(running), self._clock.factor * self._plan.time_left(done, taken))
            # Wait until at least one stage ends.
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
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
        # Output through a pipe, so that stages print progress as lines: progress bars of several stages would overwrite each other.
        process = subprocess.Popen(
            command,
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
