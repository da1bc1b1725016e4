"""What a sweep looks for and what it found, as plain tables: the space, a trial's settings, Pareto front, hypervolume, knee."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.generators.base import Searched
from angiosynth.generators.registry import KINDS
from angiosynth.runtime.output import whole_file, write_json
from angiosynth.runtime.progress import duration
from angiosynth.runtime.tables import write_table
from angiosynth.settings import Settings, digest
from angiosynth.settings.checks import placed
from angiosynth.tracking.run import DataSource

Value = float | str
KILLED, INTERRUPTED, FAULT = "killed", "interrupted", "fault"
CUT_OFF = (KILLED, INTERRUPTED, FAULT)  # how reasons begin that are not the trial's own: such a trial does not count
SIGNIFICANT = 4  # digits of a proposal that are tried, and later written
OF_EVERY_STUDY = frozenset({"model", "settings", "search_space", "data"})  # what this program keeps in each since its first version
BEYOND_WORST = 1.1  # where the hypervolume's box ends, in the worst 95HD found
RULES = {
    "knee": "the greatest sum of DSC and 95HD, each scaled to the front's own range (0 worst, 1 best)",
    "dsc": "the highest DSC",
    "hd95_mm": "the lowest 95HD",
}


@dataclass(frozen=True)
class TrialScore:
    """Means over the validation patients: DSC, and 95HD in millimetres."""

    dsc: float
    hd95_mm: float


@dataclass(frozen=True)
class TrialRow:
    """One trial as the study holds it; scores are None unless its state is "complete"."""

    number: int
    state: str
    params: dict[str, Value]
    dsc: float | None
    hd95_mm: float | None
    reason: str
    seconds: float | None
    run_id: str
    retry_of: int | None = None  # the trial that was cut off


@dataclass(frozen=True)
class SweepResult:
    """All trials of the study, its Pareto front (best DSC first), and the folder with trials.csv and front.json."""

    study: str
    model: str
    trials: tuple[TrialRow, ...]
    front: tuple[TrialRow, ...]
    folder: Path
    interrupted: bool
    importances: dict[str, dict[str, float]] = field(default_factory=dict)  # objective -> searched value -> share of 1


TrialFunction = Callable[[Settings, Path, str, int], TrialScore]


def search_space(settings: Settings, model: str) -> dict[str, Searched]:
    """Name -> what is searched of a generator: what its kind has, in the ranges of section `sweep` where that gives one.

    Raises:
        InputError: an unknown generator.
    """
    search = KINDS[settings.generator(model).kind].search
    return {name: replace(searched, values=tuple(settings.sweep.ranges.get(name, searched.values))) for name, searched in search.items()}


def model_values(settings: Settings, model: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Proposed values as keys of the generator's entry, rounded to what params.yaml would hold."""
    generator = settings.generator(model)
    search = KINDS[generator.kind].search
    changed: dict[str, Any] = {}
    for name, value in values.items():
        rounded = float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value
        changed |= placed(generator, search[name], name, rounded) if name in search else {name: rounded}
    return changed


def trial_settings(settings: Settings, model: str, values: Mapping[str, Value]) -> Settings:
    """The settings of one trial: the generator with the proposed values, and the sweep's sizes of generator, set and U-net.

    All seeds are those of params.yaml, so that trials differ by their values alone.
    """
    tree = settings.model_dump(by_alias=True)
    tree["generators"][model] |= {**model_values(settings, model, values), "steps": settings.sweep.generator_steps}
    tree["generators"][model]["checkpoint_choice"] = "last"  # the U-net at the end is the score
    tree["synthesis"]["pairs"] = settings.sweep.pairs
    tree["unet"]["steps"] = settings.sweep.unet_steps
    return Settings.model_validate(tree)


def study_facts(settings: Settings, model: str, data: DataSource | None, basis: Mapping[str, str]) -> dict[str, str]:
    """What a trial's score depends on, besides its proposed values: a study goes on with no other."""
    space = search_space(settings, model)
    fixed = trial_settings(settings, model, {})
    own = fixed.generator(model).model_dump(mode="json", exclude=set(space))
    parts = (fixed.phantom, fixed.cohort, fixed.patches, own, fixed.probe, fixed.synthesis, fixed.unet)
    ranges = json.dumps({name: list(dimension.values) for name, dimension in space.items()}, sort_keys=True)
    return {"model": model, "settings": digest(*parts), "search_space": ranges, "data": data.digest if data else "", **basis}


def refuse_others(name: str, known: Mapping[str, Any], facts: Mapping[str, str], tried: Collection[str] = ()) -> None:
    """Refuse a study that is there already and rests on something else.

    Args:
        name: the study's.
        known: what it remembers.
        facts: of study_facts; {} to ask only whether this program made it.
        tried: the names of the values that its trials have.

    Raises:
        InputError: another program made it, or this one with other facts or, in an earlier version, with fewer.
    """
    if not known.keys() >= OF_EVERY_STUDY:
        raise InputError(f"study {name}: another program made it, nothing in it was touched; give the new study another name with --study")
    if strange := set(tried) - json.loads(known["search_space"]).keys():
        raise InputError(
            f"study {name}: another program put trials into it, of {', '.join(sorted(strange))}; give the new study another name"
        )
    for key, value in facts.items():
        if known.get(key) != value:
            what, before = key.replace("_", " "), known.get(key, "not kept then")
            raise InputError(f"study {name}: made with other {what} ({before}, now {value}); give the new study another name with --study")


def pareto_front(rows: Sequence[TrialRow]) -> tuple[TrialRow, ...]:
    """The complete trials that no other one is at least as good as in both scores and better in one; best DSC first."""
    done = [(row, *score) for row in rows if (score := scores_of(row)) is not None]
    front = [
        (row, dsc) for row, dsc, hd95_mm in done if not any(d >= dsc and h <= hd95_mm and (d, h) != (dsc, hd95_mm) for _, d, h in done)
    ]
    return tuple(row for row, _ in sorted(front, key=lambda pair: -pair[1]))


def hypervolume(scores: Sequence[tuple[float, float]], worst_mm: float) -> float:
    """The share of the box DSC 0 to 1, 95HD 0 to `worst_mm` that is worse than some (DSC, hd95_mm) in both."""
    area, least = 0.0, worst_mm
    ranked = sorted(scores, reverse=True)
    for (dsc, hd95_mm), (below, _) in zip(ranked, [*ranked[1:], (0.0, 0.0)], strict=True):
        least = min(least, hd95_mm)
        area += (dsc - below) * (worst_mm - least)
    return area / worst_mm if worst_mm > 0 else 0.0


def hypervolumes(rows: Sequence[TrialRow]) -> list[tuple[int, float]]:
    """(trial number, hypervolume of the study up to it), one a complete trial."""
    done = [(row.number, score) for row in rows if (score := scores_of(row)) is not None]
    worst = BEYOND_WORST * max((hd95_mm for _, (_, hd95_mm) in done), default=0.0)
    return [(number, hypervolume([score for _, score in done[: place + 1]], worst)) for place, (number, _) in enumerate(done)]


def knee(front: Sequence[TrialRow]) -> TrialRow:
    """The front's point furthest above the line between its ends (Das 1999, Struct. Optim. 18:107); of equals the one with more DSC.

    Raises:
        InputError: the front is empty.
    """
    scores = [(row, *score) for row in front if (score := scores_of(row)) is not None]
    if not scores:
        raise InputError("the study has no complete trial yet; let it run on")
    (dsc_low, dsc_high), (hd_low, hd_high) = ((min(column), max(column)) for column in list(zip(*scores, strict=True))[1:])
    width, height = (dsc_high - dsc_low) or 1.0, (hd_high - hd_low) or 1.0
    return max(scores, key=lambda point: (round((point[1] - dsc_low) / width + (hd_high - point[2]) / height, 9), point[1]))[0]


def chosen(front: Sequence[TrialRow], rule: str) -> tuple[TrialRow, str]:
    """The front's point by one of RULES, and the rule in words.

    Raises:
        InputError: the front is empty.
    """
    row = knee(front)
    if rule == "dsc":
        row = front[0]
    elif rule == "hd95_mm":
        row = front[-1]
    return row, f"rule {rule}: {RULES[rule]}"


def counted(rows: Sequence[TrialRow]) -> int:
    """Complete trials and those that failed by themselves: not those cut off, nor those that met a fault, such as a full disk."""
    return sum(row.state == "complete" or (row.state == "fail" and not row.reason.startswith(CUT_OFF)) for row in rows)


def how_far(rows: Sequence[TrialRow], goal: int) -> str:
    """Such as "3/20, about 40:00 min left": at the trials' mean length, with those who work on it now."""
    done = counted(rows)
    lengths = [row.seconds for row in rows if row.state == "complete" and row.seconds is not None]
    if done >= goal or not lengths:
        return f"{done}/{goal}"
    workers = 1 + sum(row.state == "running" for row in rows)
    return f"{done}/{goal}, about {duration(sum(lengths) / len(lengths) * (goal - done) / workers)} left"


def proposal(trial: Any, space: Mapping[str, Searched]) -> dict[str, Value]:
    """What Optuna's trial proposes in the space."""
    ask: dict[str, Callable[[str, tuple[Any, ...]], Value]] = {
        "whole": lambda name, ends: trial.suggest_int(name, *ends),
        "log": lambda name, ends: trial.suggest_float(name, *ends, log=True),
        "linear": lambda name, ends: trial.suggest_float(name, *ends),
        "choice": lambda name, choices: str(trial.suggest_categorical(name, choices)),
    }
    return {name: ask[dimension.scale](name, dimension.values) for name, dimension in space.items()}


def row_of(trial: Any, lost_run: str) -> TrialRow:
    """A row from Optuna's trial; `lost_run` is the run of one that was killed before it knew its own."""
    state = trial.state.name.lower().replace("pruned", "fail")  # see study.Trial.failed
    dsc, hd95_mm = trial.values if state == "complete" else (None, None)
    seconds = round(trial.duration.total_seconds(), 1) if trial.duration else None
    own = trial.user_attrs
    reason = str(own.get("reason", KILLED)) if state == "fail" else ""
    return TrialRow(
        trial.number, state, dict(trial.params), dsc, hd95_mm, reason, seconds, str(own.get("run_id", lost_run)), own.get("retry_of")
    )


def scores_of(row: TrialRow) -> tuple[float, float] | None:
    """(DSC, hd95_mm) of a complete trial."""
    return None if row.dsc is None or row.hd95_mm is None else (row.dsc, row.hd95_mm)


def write_tables(result: SweepResult) -> None:
    """trials.csv and front.json in the result's folder."""
    rows, names = result.trials, sorted({name for row in result.trials for name in row.params})
    with whole_file(result.folder / "trials.csv") as target, target.open("w", newline="", encoding="utf-8") as stream:
        columns = ["number", "state", "val_dsc", "val_hd95_mm", *names, "seconds", "reason", "retry_of", "run_id"]
        cells = (
            [row.number, row.state, row.dsc, row.hd95_mm, *map(row.params.get, names), row.seconds, row.reason, row.retry_of, row.run_id]
            for row in rows
        )
        write_table(stream, columns, cells, line_end="\r\n")
    points = [{"number": row.number, "val_dsc": row.dsc, "val_hd95_mm": row.hd95_mm, "params": row.params} for row in result.front]
    write_json(result.folder / "front.json", {"study": result.study, "model": result.model, "front": points})
