"""Results of a study as plain tables: trials, Pareto front, hypervolume and knee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file, write_json
from angiosynth.runtime.progress import duration
from angiosynth.runtime.tables import write_table

Value = float | str
KILLED, INTERRUPTED, FAULT = "killed", "interrupted", "fault"
CUT_OFF = (KILLED, INTERRUPTED, FAULT)  # prefixes of the reasons of trials that ended independently of their values; these do not count
BEYOND_WORST = 1.1  # upper end of the hypervolume's box, relative to the worst 95HD
FEWEST_COMPLETE = 5  # complete trials before the median rule applies
RULES = {
    "knee": "the greatest sum of DSC and 95HD, each scaled to the front's own range (0 worst, 1 best)",
    "dsc": "the highest DSC",
    "hd95_mm": "the lowest 95HD",
}


@dataclass(frozen=True)
class TrialScore:
    """Mean DSC and mean 95HD in millimetres over the validation patients."""

    dsc: float
    hd95_mm: float


@dataclass(frozen=True)
class TrialRow:
    """One trial of the study; scores are None unless its state is "complete"."""

    number: int
    state: str
    params: dict[str, Value]
    dsc: float | None
    hd95_mm: float | None
    reason: str
    seconds: float | None
    run_id: str
    retry_of: int | None = None  # number of the killed trial whose values it repeats


@dataclass(frozen=True)
class SweepResult:
    """All trials of a study, its Pareto front (best DSC first), and the folder of trials.csv and front.json."""

    study: str
    model: str
    trials: tuple[TrialRow, ...]
    front: tuple[TrialRow, ...]
    folder: Path
    interrupted: bool
    importances: dict[str, dict[str, float]] = field(default_factory=dict)  # objective -> searched value -> fraction of 1


def mean_score(scores: Sequence[TrialScore]) -> TrialScore:
    """Return the mean of both scores over the seeds of a trial."""
    return TrialScore(sum(score.dsc for score in scores) / len(scores), sum(score.hd95_mm for score in scores) / len(scores))


def is_hopeless(score: TrialScore, rows: Sequence[TrialRow]) -> bool:
    """Return whether a trial's first seed is worse in both scores than at least half of the complete trials (median rule, two objectives).

    Such a trial is unlikely to reach the front with further seeds. The rule applies once FEWEST_COMPLETE trials are complete.
    """
    known = [scores for row in rows if (scores := scores_of(row)) is not None]
    better = sum(dsc > score.dsc and hd95_mm < score.hd95_mm for dsc, hd95_mm in known)
    return len(known) >= FEWEST_COMPLETE and 2 * better >= len(known)


def pareto_front(rows: Sequence[TrialRow]) -> tuple[TrialRow, ...]:
    """Return the non-dominated complete trials, best DSC first: no other trial is at least as good in both scores and better in one."""
    done = [(row, *score) for row in rows if (score := scores_of(row)) is not None]
    front = [
        (row, dsc) for row, dsc, hd95_mm in done if not any(d >= dsc and h <= hd95_mm and (d, h) != (dsc, hd95_mm) for _, d, h in done)
    ]
    return tuple(row for row, _ in sorted(front, key=lambda pair: -pair[1]))


def hypervolume(scores: Sequence[tuple[float, float]], worst_mm: float) -> float:
    """Return the fraction of the box [0, 1] x [0, worst_mm] of DSC and 95HD that is dominated by the given points (dsc, hd95_mm).

    The area is summed over strips of DSC in descending order. The height of a strip is determined by the lowest 95HD among the points with
    at least its DSC.
    """
    area, least = 0.0, worst_mm
    ranked = sorted(scores, reverse=True)
    for (dsc, hd95_mm), (below, _) in zip(ranked, [*ranked[1:], (0.0, 0.0)], strict=True):
        least = min(least, hd95_mm)
        area += (dsc - below) * (worst_mm - least)
    return area / worst_mm if worst_mm > 0 else 0.0


def hypervolumes(rows: Sequence[TrialRow]) -> list[tuple[int, float]]:
    """Return the pairs (trial number, hypervolume of the study up to this trial), one per complete trial."""
    done = [(row.number, score) for row in rows if (score := scores_of(row)) is not None]
    worst = BEYOND_WORST * max((hd95_mm for _, (_, hd95_mm) in done), default=0.0)
    return [(number, hypervolume([score for _, score in done[: place + 1]], worst)) for place, (number, _) in enumerate(done)]


def knee(front: Sequence[TrialRow]) -> TrialRow:
    """Return the point of the front with the greatest distance above the line between its ends (Das 1999, Struct. Optim. 18:107).

    Both scores are scaled to the range of the front, so that the distance is proportional to their sum. Ties are broken by the higher DSC.

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
    """Select a point of the front by one of RULES; also returns a description of the rule.

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
    """Count trials that are complete or failed because of their values, excluding interrupted ones and faults such as a full disk."""
    return sum(row.state == "complete" or (row.state == "fail" and not row.reason.startswith(CUT_OFF)) for row in rows)


def how_far(rows: Sequence[TrialRow], goal: int) -> str:
    """Format progress as "3/20, about 40:00 min left", estimated by the mean duration of trials and the current number of workers."""
    done = counted(rows)
    lengths = [row.seconds for row in rows if row.state == "complete" and row.seconds is not None]
    if done >= goal or not lengths:
        return f"{done}/{goal}"
    workers = 1 + sum(row.state == "running" for row in rows)
    return f"{done}/{goal}, about {duration(sum(lengths) / len(lengths) * (goal - done) / workers)} left"


def scores_of(row: TrialRow) -> tuple[float, float] | None:
    """Return the scores (dsc, hd95_mm) of a complete trial, else None."""
    return None if row.dsc is None or row.hd95_mm is None else (row.dsc, row.hd95_mm)


def write_tables(result: SweepResult) -> None:
    """Write trials.csv and front.json into the folder of the result."""
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
