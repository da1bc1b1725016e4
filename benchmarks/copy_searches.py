"""Which copies does each search for copies see, and from which share of a set on do they lead to "over"? One search for many sets.

    python -m benchmarks.copy_searches --cache FOLDER [--cohorts 8/4+12 20/10 40/20] [--seeds 2] [--detector 500] [--figure PNG] [--json]

People, splits and U-net are those of benchmarks/audit_errors.py, as is the cache folder. A pair's distances depend on no other pair, so
one search for each split, among patches of strangers and copies of each kind, serves sets with any share of copies. Beside copies as
they lie, noisy and turned, it looks at those that no pose undoes (deformed, altered).

First table: how many patches count as copies of anybody who was trained on, in brackets of anybody who was not, over all splits. Second
table: of sets of 3,000 pairs with so many copies, each copy in one set of a share alone, how many a measure of copies puts over its limit
at the first step of the correction, which makes the verdict "over" whatever the other measures say; without and with the detector, with
the 95% interval (Clopper and Pearson), as if sets of one split were independent. Searches are kept in the folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.privacy.audited import RealData
from angiosynth.privacy.copies import LEARNED, CopyAudit, Pairs
from angiosynth.privacy.copy_counts import counts_p
from angiosynth.privacy.verdict import COPIES
from angiosynth.report.style import PALETTE, SIGNS, drawn
from benchmarks.audit_errors import SETTINGS, SIZES, split_of
from benchmarks.audit_people import seed_of
from benchmarks.audit_sets import DISTORTERS, PAIRS, SPOILERS, SetMaker
from benchmarks.shares import exact_interval

STRANGERS = "strangers"
KINDS = {**SPOILERS, **DISTORTERS}
COUNT = 60  # copies of each kind
COPIED = (3, 4, 6, 8, 10, 15, 20, 30, 60)  # pairs of a set
MEASURES = 12  # of the audit of a set without its generator; one more with the detector
NOBODY = -1
GROUPS = {"plain": tuple(SPOILERS), **{kind: (kind,) for kind in DISTORTERS}}  # of kinds whose sets are counted together
DRAWN_GROUPS = {"plain": "copies as they lie, noisy, turned", "deformed": "deformed copies"}
SIDEWAYS = 1.025  # factor between the places of two cohorts' intervals, so that none hides another

# For each patch of a search: its kind, and by "space side" the person of whom it counts as a copy, or NOBODY; "space people" has the
# numbers of people of either side.
Suspected = Mapping[str, NDArray[Any]]


def suspected_of(cohort: str, seed: int, detector: int, cache: Path) -> Suspected:
    """Search among one split's strangers and copies; read from the cache folder where it was done."""
    path = cache / f"searches-{cohort.replace('/', '_')}-{seed}-{detector}.npz"
    if not path.exists():
        np.savez(path, **_search(cohort, seed, detector, cache))
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _search(cohort: str, seed: int, detector: int, cache: Path) -> dict[str, Any]:
    split = split_of(cohort, seed, detector, cache)
    training, strangers = split.real.training, SetMaker(split.people, split.cohort, seed, cache).strangers().pairs
    parts = {STRANGERS: Pairs(strangers.image, strangers.label)}
    for kind, spoil in KINDS.items():
        rng = np.random.default_rng(seed_of("searches", kind, cohort, seed))
        rows = rng.choice(len(training), COUNT, replace=False)
        parts[kind] = Pairs(*spoil(training.image[rows], training.label[rows], rng))
    together = Pairs(*(np.concatenate([getattr(one, name) for one in parts.values()]) for name in ("image", "label")))
    copies = CopyAudit(RealData(split.real, split.references), SETTINGS.model_copy(update={"detector_steps": detector}))
    # All copies are aligned exactly, and as many strangers' patches as in an audit of that benchmark.
    searches = copies.search(together, COUNT * len(KINDS) + SETTINGS.checked, f"{cohort} {seed}")
    arrays: dict[str, Any] = {"kind": np.repeat(list(parts), [len(one.image) for one in parts.values()])}
    for space, search in searches.items():
        arrays[f"{space} people"] = np.array(copies.people_of(space))
        for side, suspicion in (("training", search.training), ("others", search.others)):
            arrays[f"{space} {side}"] = np.where(copies.thresholds[space].passed(suspicion), suspicion.person, NOBODY)
    return arrays


def spaces_of(suspected: Suspected) -> list[str]:
    """The searches that were made, in the verdict's order."""
    return [space for space in COPIES if f"{space} people" in suspected]


def is_over(suspected: Suspected, rows: NDArray[np.int64], spaces: Iterable[str], measures: int) -> bool:
    """Whether a measure of copies of the set of these rows is over its limit at the first step of the correction."""
    for space in spaces:
        people = suspected[f"{space} people"]
        members, others = (
            np.bincount(person[person != NOBODY], minlength=count)
            for person, count in zip((suspected[f"{space} {side}"][rows] for side in ("training", "others")), people, strict=True)
        )
        beyond = members.sum() / len(rows) > others.mean() * len(members) / len(rows) + SETTINGS.limits.copies
        if beyond and counts_p(members, others)["p"] * measures <= SETTINGS.limits.alpha:
            return True
    return False


def sets_over(suspected: Suspected, kind: str, copied: int, *, learnt: bool) -> list[bool]:
    """For every disjoint handful of copies of a kind, among strangers' pairs, whether its set is over a limit."""
    spaces = [space for space in spaces_of(suspected) if learnt or space != LEARNED]
    rows = np.flatnonzero(suspected["kind"] == kind)
    strangers = np.flatnonzero(suspected["kind"] == STRANGERS)[: PAIRS - copied]
    handfuls = [rows[start : start + copied] for start in range(0, COUNT - copied + 1, copied)]
    return [is_over(suspected, np.concatenate([handful, strangers]), spaces, MEASURES + learnt) for handful in handfuls]


def seen_table(searches: list[Suspected]) -> list[str]:
    """A row for each kind of patch, a column for each search."""
    spaces = spaces_of(searches[0])
    rows = [f"| patches | looked at | {' | '.join(spaces)} |", f"|---|---:|{'---:|' * len(spaces)}"]
    for kind in (STRANGERS, *KINDS):
        chosen = [one["kind"] == kind for one in searches]
        counts = {
            (space, side): sum(int((one[f"{space} {side}"][of] != NOBODY).sum()) for one, of in zip(searches, chosen, strict=True))
            for space in spaces
            for side in ("training", "others")
        }
        cells = (f"{counts[space, 'training']} ({counts[space, 'others']})" for space in spaces)
        rows.append(f"| {kind} | {sum(int(of.sum()) for of in chosen)} | {' | '.join(cells)} |")
    return rows


Power = dict[tuple[str, int, str, bool], tuple[int, int]]  # cohort, copies, kinds, with the detector -> sets over, sets


def power_of(searches: Mapping[str, list[Suspected]]) -> Power:
    """Counts of sets for each cohort, number of copies and group of kinds."""
    power: Power = {}
    for cohort, splits in searches.items():
        for group, kinds in GROUPS.items():
            for copied in COPIED:
                for learnt in (False, True):
                    over = [one for split in splits for kind in kinds for one in sets_over(split, kind, copied, learnt=learnt)]
                    power[cohort, copied, group, learnt] = (sum(over), len(over))
    return power


def power_table(power: Power, cohorts: Iterable[str]) -> list[str]:
    """A row for each cohort and number of copies, a column for each group of kinds, without and with the detector."""
    columns = [(group, learnt) for group in GROUPS for learnt in (False, True)]
    head = " | ".join(f"{group}{', with the detector' if learnt else ''}" for group, learnt in columns)
    rows = [f"| cohort | copies of {PAIRS:,} | {head} |", f"|---|---:|{'---:|' * len(columns)}"]
    for cohort in cohorts:
        for copied in COPIED:
            cells = []
            for column in columns:
                over, sets = power[cohort, copied, *column]
                low, high = exact_interval(over, sets)
                cells.append(f"{over} of {sets} ({low:.2f} to {high:.2f})")
            rows.append(f"| {cohort} | {copied} ({copied / PAIRS:.2%}) | {' | '.join(cells)} |")
    return rows


def draw_power(power: Power, cohorts: Iterable[str], path: Path) -> None:
    """Power over the share of copies, a curve for each cohort, with the 95% intervals of those with the detector."""
    shares = np.array(COPIED) / PAIRS * 100
    with drawn(path, 8.8, 3.7) as figure:
        panels = figure.subplots(1, len(DRAWN_GROUPS), sharey=True)
        for axes, (group, title) in zip(panels, DRAWN_GROUPS.items(), strict=True):
            for number, cohort in enumerate(cohorts):
                places = shares * SIDEWAYS**number
                look = {"marker": SIGNS[number], "color": PALETTE[number], "markersize": 5}
                for learnt in (False, True):
                    counts = [power[cohort, copied, group, learnt] for copied in COPIED]
                    label = f"{cohort}{', with the detector' if learnt else ''}"
                    axes.plot(places, [over / sets for over, sets in counts], ls="-" if learnt else ":", label=label, **look)
                ends = np.array([exact_interval(*one) for one in counts])
                axes.vlines(places, ends[:, 0], ends[:, 1], color=PALETTE[number], linewidth=0.8)
            axes.set(xscale="log", xlabel="copies, % of the set", title=title, ylim=(-0.03, 1.03))
            axes.set_xticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
            axes.minorticks_off()
        panels[0].set_ylabel('share of sets "over" by copies')
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(list(cohorts)), fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cohorts", nargs="+", choices=SIZES, default=["8/4+12", "20/10", "40/20"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[2])
    parser.add_argument("--detector", type=int, default=500, metavar="STEPS")
    parser.add_argument("--figure", type=Path, metavar="PNG")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    searches = {
        cohort: [suspected_of(cohort, seed, options.detector, options.cache) for seed in options.seeds] for cohort in options.cohorts
    }
    power = power_of(searches)
    harmless = [
        is_over(one, np.flatnonzero(one["kind"] == STRANGERS), spaces_of(one), MEASURES + 1) for of in searches.values() for one in of
    ]
    print("\n".join(seen_table([one for of in searches.values() for one in of])))
    print(f"\nSets without copies over a limit: {sum(harmless)} of {len(harmless)}\n")
    print("\n".join(power_table(power, options.cohorts)))
    if options.figure:
        draw_power(power, options.cohorts, options.figure)
    if options.json:
        print(json.dumps({" ".join(map(str, key)): value for key, value in power.items()}))


if __name__ == "__main__":
    main()
