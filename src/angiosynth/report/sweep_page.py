"""Section of the report on sweeps, with one subsection per study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from angiosynth.report.captions import SWEEP_CAPTIONS
from angiosynth.report.rendering import Picture, Table, read_figure
from angiosynth.report.style import name_of


@dataclass(frozen=True)
class StudySection:
    """Subsection of one study: title, outcomes of trials, Pareto front (None before the first complete trial), figures."""

    title: str
    counts: str
    front: Table | None
    pictures: Sequence[Picture]


def study_sections(studies: Sequence[Mapping[str, Any]], figures: Mapping[tuple[str, str], Path]) -> list[StudySection]:
    """Build one subsection for each study.

    Args:
        studies: contents of sweeps/<study>.json.
        figures: (study, figure) -> PNG file.

    Raises:
        InputError: a figure is missing.
    """
    return [
        StudySection(
            f"{name_of(study['model'])}, study {study['study']}",
            _counts(study),
            _front(study) if study["front"] else None,
            [
                Picture.of(read_figure(figures[study["study"], name]), *texts)
                for name, texts in SWEEP_CAPTIONS.items()
                if (study["study"], name) in figures
            ],
        )
        for study in studies
    ]


def _counts(study: Mapping[str, Any]) -> str:
    """Sentence with the number of trials and their outcomes."""
    states = Counter(trial["state"] for trial in study["trials"])
    reasons = Counter(trial["reason"] for trial in study["trials"] if trial["state"] == "fail")
    failures = ", ".join(f"{count} times: {reason}" for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))
    failed = f", {states['fail']} failed ({failures})" if reasons else ""
    n_open = len(study["trials"]) - states["complete"] - states["fail"]
    at_work = f", {n_open} at work or cut off" if n_open else ""
    return f"{len(study['trials'])} trials: {states['complete']} complete{failed}{at_work}."


def _front(study: Mapping[str, Any]) -> Table:
    trials = {trial["number"]: trial for trial in study["trials"]}
    names = list(trials[study["front"][0]]["params"])
    rows = []
    for number in study["front"]:
        trial = trials[number]
        title = f"{number} (knee)" if number == study["knee"] else str(number)
        rows.append([title, f"{trial['val_dsc']:.3f}", f"{trial['val_hd95_mm']:.2f}", *(_value(trial["params"][name]) for name in names)])
    head = ["trial", "DSC", "95HD, mm", *(name.replace("_", " ") for name in names)]
    return Table("The Pareto front on validation patients, best DSC first.", head, rows)


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
