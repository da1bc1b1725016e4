"""`dvc repro` with the time that all stages together will take, from a warm process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from angiosynth.runtime.machine import cpu_count, processor
from angiosynth.runtime.programs import path_with_own_programs
from angiosynth.runtime.progress import duration, say, tell
from angiosynth.runtime.warm import warm_server
from angiosynth.settings import Settings
from angiosynth.verbs.parallel_stages import Clock, ParallelStages, Plan, Planned

RUNNING = "Running stage '"


def repro(settings: Settings, root: Path, targets: Sequence[str], jobs: int = 0) -> int:
    """Run `dvc repro`, say at its start and at every stage how long all will take; returns DVC's exit code.

    Args:
        settings: what the stages will run with.
        root: the project.
        targets: names of stages, as `dvc repro` takes them; all where there is none.
        jobs: stages at a time, where they do not need each other; 0 for as many as `threads` of the settings leaves cores for.
    """
    # Libraries that the estimate brings add variables, and a stage in another environment than the warm process's starts by itself.
    environment = os.environ | {"PATH": path_with_own_programs()}  # stages call `python`
    with warm_server(root, environment=environment) as variables:
        environment |= variables
        stages = planned(root, targets)
        seconds = _estimate(settings, stages) if stages else {}
        plan = Plan(stages, seconds, min(jobs or jobs_for(settings), max(1, len(stages))))
        if seconds:
            several = f", {plan.jobs} at a time" if plan.jobs > 1 else ""
            say(f"{len(stages)} stages{several}, about {_rounded(plan.time_left((), {}))} on {processor()}")
        if plan.jobs > 1:
            return ParallelStages(root, plan, environment, lambda name, number, left: _announce(name, number, len(stages), left)).run()
        return _follow(root, targets, environment, seconds)


def jobs_for(settings: Settings) -> int:
    """Stages at a time: 1 where a stage takes all cores or a GPU."""
    if settings.threads == "auto":
        return 1
    from angiosynth.compute.precision import device

    return 1 if device().type == "cuda" else max(1, cpu_count() // settings.threads)


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
    needs: dict[str, frozenset[str]] = {}  # of the stages that run
    for stage in order:  # those that a stage rests on come before it
        needed = frozenset(other.addressing for other in graph.successors(stage)) & needs.keys()
        if stage.cmd and (needed or stage.addressing in changed):
            needs[stage.addressing] = needed
    return [Planned(stage.addressing, str(stage.cmd), needs[stage.addressing]) for stage in order if stage.addressing in needs]


def stage_lines(root: Path, targets: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Run `dvc repro` and give the lines of its standard output as they come.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", "dvc", "repro", *targets]
    with subprocess.Popen(words, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
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


def _follow(root: Path, targets: Sequence[str], environment: Mapping[str, str], seconds: dict[str, float]) -> int:
    """Print DVC's lines, and the time left where a stage begins. Stages that took longer than was thought make the others longer."""
    order, clock = list(seconds), Clock()
    current, begun = "", time.monotonic()
    try:
        for line in stage_lines(root, targets, environment):
            tell(line)
            stage = stage_of(line)
            if stage is None:
                continue
            if current in seconds:
                clock.add(seconds[current], time.monotonic() - begun)
            current, begun = stage, time.monotonic()
            if stage in seconds:
                place = order.index(stage)
                _announce("", place + 1, len(order), clock.factor * sum(seconds[name] for name in order[place:]))
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def _announce(name: str, number: int, of: int, left: float) -> None:
    say(f"stage {number} of {of}{': ' * bool(name)}{name}, about {_rounded(left)} left for all")


def _rounded(seconds: float) -> str:
    """To half minutes above two, to ten seconds below."""
    step = 30 if seconds > 120 else 10
    return duration(max(step, round(seconds / step) * step))
