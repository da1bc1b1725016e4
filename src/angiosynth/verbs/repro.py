"""Run `dvc repro` in forks of a process with loaded libraries, and print the estimated time left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from angiosynth.project.dvc_files import repair
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.machine import cpu_count, memory_available, processor
from angiosynth.runtime.programs import path_with_own_programs
from angiosynth.runtime.progress import duration, say, tell
from angiosynth.runtime.warm import warm_server
from angiosynth.settings import Settings
from angiosynth.verbs.parallel_stages import Clock, ParallelStages, Plan, Planned

RUNNING = "Running stage '"


def repro(settings: Settings, root: Path, targets: Sequence[str], jobs: int = 0) -> int:
    """Run `dvc repro`; print at its start and at every stage the estimated time for all stages.

    Args:
        settings: the settings of the stages.
        root: the project's folder.
        targets: names of stages, as `dvc repro` accepts them; empty for all stages.
        jobs: the most independent stages that run at once; 0 for the number of cores divided by setting `threads`.

    Returns:
        DVC's exit code.

    Raises:
        InputError: stages run in parallel, and a network of the settings cannot be built.
    """
    # Copied before the estimate imports libraries that add variables: the warm process forks only stages with its environment.
    environment = os.environ | {"PATH": path_with_own_programs()}  # stages call `python`
    for path in repair(root):
        say(f"{path}: put aside; a killed run of DVC had damaged it, and DVC makes it anew")
    with warm_server(root, environment=environment) as variables:
        environment |= variables
        stages = planned(root, targets)
        seconds = _estimate(settings, stages) if stages else {}
        plan = _plan(settings, root, stages, seconds, min(jobs or jobs_for(settings), max(1, len(stages))))
        if seconds:
            several = f", {plan.jobs} at a time" if plan.jobs > 1 else ""
            say(f"{len(stages)} stages{several}, about {_rounded(plan.time_left((), {}))} on {processor()}")
        if plan.jobs > 1:
            return ParallelStages(root, plan, environment, lambda name, number, left: _announce(name, number, len(stages), left)).run()
        return _follow(root, targets, environment, seconds)


def _plan(settings: Settings, root: Path, stages: Sequence[Planned], seconds: Mapping[str, float], jobs: int) -> Plan:
    """Order the stages; several at once only as far as their memory fits into what is free now."""
    free = memory_available()
    if jobs == 1 or not free:
        return Plan(stages, seconds, jobs)
    from angiosynth.project.preflight import needs_of_commands

    commands = {stage.name: stage.command for stage in stages}
    return Plan(stages, seconds, jobs, needs_of_commands(settings, Workspace(root, root), commands), free)


def jobs_for(settings: Settings) -> int:
    """Return the number of stages to run at once: 1 if a stage uses all cores or a GPU."""
    if settings.threads == "auto":
        return 1
    from angiosynth.compute.precision import device

    return 1 if device().type == "cuda" else max(1, cpu_count() // settings.threads)


def planned(root: Path, targets: Sequence[str]) -> list[Planned]:
    """Return the stages that `dvc repro` would run, in its order.

    DVC itself may run fewer: it skips a stage whose dependencies turn out to be unchanged.

    Empty if DVC cannot read the project or does not know a target; `dvc repro` then prints the reason.
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
    needs: dict[str, frozenset[str]] = {}  # only of the stages to run
    for stage in order:  # those that a stage rests on come before it
        needed = frozenset(other.addressing for other in graph.successors(stage)) & needs.keys()
        if stage.cmd and (needed or stage.addressing in changed):
            needs[stage.addressing] = needed
    return [Planned(stage.addressing, str(stage.cmd), needs[stage.addressing]) for stage in order if stage.addressing in needs]


def stage_lines(root: Path, targets: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Run `dvc repro` and yield the lines of its standard output as it prints them.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield from (line.rstrip("\n") for line in process.stdout)
        except KeyboardInterrupt:  # a terminal sends the signal to DVC too
            raise
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def stage_of(line: str) -> str | None:
    """Return the stage whose start a line of `dvc repro` announces, or None."""
    return line.removeprefix(RUNNING).partition("'")[0] if line.startswith(RUNNING) else None


def _estimate(settings: Settings, stages: Sequence[Planned]) -> dict[str, float]:
    """Estimate the seconds of each stage."""
    from angiosynth.project.pace import Estimate, measure

    estimate = Estimate(settings, measure(settings))
    return {stage.name: estimate.seconds(stage.command) for stage in stages}


def _follow(root: Path, targets: Sequence[str], environment: Mapping[str, str], seconds: dict[str, float]) -> int:
    """Print DVC's lines and, at the start of each stage, the time left, scaled by the ratio of actual to estimated seconds so far."""
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
    """Format a duration, rounded to 30 s above two minutes and to 10 s below."""
    step = 30 if seconds > 120 else 10
    return duration(max(step, round(seconds / step) * step))
