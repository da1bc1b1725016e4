"""`dvc repro` with the time that all stages together will take, from a warm process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from angiosynth.runtime.machine import processor
from angiosynth.runtime.progress import duration, say, tell
from angiosynth.runtime.warm import warm_server
from angiosynth.settings import Settings

RUNNING = "Running stage '"
PRIOR_S = 20.0  # one short stage does not change the whole estimate


@dataclass(frozen=True)
class Planned:
    """A stage that has changed, or that rests on one that has, and its command."""

    name: str
    command: str


def repro(settings: Settings, root: Path, targets: Sequence[str]) -> int:
    """Run `dvc repro`, say at its start and at every stage how long all will take; returns DVC's exit code.

    Args:
        settings: what the stages will run with.
        root: the project.
        targets: names of stages, as `dvc repro` takes them; all where there is none.
    """
    with warm_server(root) as variables:
        stages = planned(root, targets)
        seconds = _estimate(settings, stages) if stages else {}
        if seconds:
            say(f"{len(stages)} stages, about {_rounded(sum(seconds.values()))} on {processor()}")
        return _follow(root, targets, variables, seconds)


def planned(root: Path, targets: Sequence[str]) -> list[Planned]:
    """The stages that `dvc repro` would run, in its order, unless what changed turns out to give the same results as before.

    Empty where DVC cannot read the project or knows no such target; `dvc repro` then says why.
    """
    from dvc.exceptions import DvcException

    try:
        return _planned(root, targets)
    except DvcException:
        return []


def _planned(root: Path, targets: Sequence[str]) -> list[Planned]:
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    with Repo(str(root)) as repo:
        graph = repo.index.graph
        chosen = [stage for target in targets for stage in repo.stage.collect(target)]
        order = plan_repro(graph, chosen or None)
        changed = set(repo.status(list(targets) or None, with_deps=True))
    running: set[str] = set()
    for stage in order:  # those that a stage rests on come before it
        if stage.addressing in changed or any(other.addressing in running for other in graph.successors(stage)):
            running.add(stage.addressing)
    return [Planned(stage.addressing, str(stage.cmd)) for stage in order if stage.addressing in running and stage.cmd]


def stage_lines(root: Path, targets: Sequence[str], variables: Mapping[str, str]) -> Iterator[str]:
    """Run `dvc repro` and give the lines of its standard output as they come.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", "dvc", "repro", *targets]
    with subprocess.Popen(words, cwd=root, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield from (line.rstrip("\n") for line in process.stdout)
        except KeyboardInterrupt:  # a terminal sends it to DVC too
            raise
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def stage_of(line: str) -> str | None:
    """The stage that a line of `dvc repro` says is starting."""
    return line.removeprefix(RUNNING).partition("'")[0] if line.startswith(RUNNING) else None


def _estimate(settings: Settings, stages: Sequence[Planned]) -> dict[str, float]:
    """Seconds by stage."""
    from angiosynth.project.pace import Estimate, measure

    estimate = Estimate(settings, measure(settings))
    return {stage.name: estimate.seconds(stage.command) for stage in stages}


def _follow(root: Path, targets: Sequence[str], variables: Mapping[str, str], seconds: dict[str, float]) -> int:
    """Print DVC's lines, and the time left where a stage begins. Stages that took longer than was thought make the others longer."""
    order = list(seconds)
    expected = taken = 0.0  # of the stages that have ended
    current, begun = "", time.monotonic()
    try:
        for line in stage_lines(root, targets, variables):
            tell(line)
            stage = stage_of(line)
            if stage is None:
                continue
            if current in seconds:
                taken += time.monotonic() - begun
                expected += seconds[current]
            current, begun = stage, time.monotonic()
            if stage in seconds:
                place = order.index(stage)
                factor = (taken + PRIOR_S) / (expected + PRIOR_S)
                left = factor * sum(seconds[name] for name in order[place:])
                say(f"stage {place + 1} of {len(order)}, about {_rounded(left)} left for all")
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def _rounded(seconds: float) -> str:
    """To half minutes above two, to ten seconds below."""
    step = 30 if seconds > 120 else 10
    return duration(max(step, round(seconds / step) * step))
