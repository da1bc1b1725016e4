"""What sweeps found, as a section of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from angiosynth.report.style import name_of

FIGURES = {
    "front": (
        "DSC against 95HD of every trial, the Pareto front joined by a line.",
        "Every trial on validation patients. On the numbered front no trial is better in both scores; the ring is its knee.",
    ),
    "hypervolume": (
        "A line that rises in steps, trial by trial.",
        "The share of the box of possible scores that the front leaves behind. A long flat end says that more trials bring little.",
    ),
    "importances": (
        "Two bars for each searched value.",
        "How much each value decides about the best quarter of the trials (PED-ANOVA). With few trials this is rough.",
    ),
    "parallel": (
        "A line for each trial over upright axes, one for each value and both scores.",
        "Every trial as a line over its values and scores, those of the front in colour.",
    ),
}


def sweep_section(found: Sequence[Mapping[str, Any]], figures: Mapping[tuple[str, str], str]) -> str:
    """A part for each study: how many trials, the front's values, figures (HTML); "" where there are none.

    Args:
        found: what sweeps/<study>.json hold.
        figures: (study, figure) -> the PNG as base64.
    """
    if not found:
        return ""
    words = (
        "<p>Trials are short trainings, each from settings to the score of a small U-net on validation patients; no test patient was "
        "looked at. All have one seed, so differences of a hundredth may be luck. `sweep-apply` writes a point into params.yaml, "
        "and only a training at full length, scored above, says what it is worth.</p>"
    ).replace("`sweep-apply`", "<code>sweep-apply</code>")
    return f"<section><h2>Searched settings</h2>{words}{''.join(_study(one, figures) for one in found)}</section>"


def _study(found: Mapping[str, Any], figures: Mapping[tuple[str, str], str]) -> str:
    study = found["study"]
    shown = "".join(_figure(name, figures[study, name]) for name in FIGURES if (study, name) in figures)
    return f"<h3>{escape(name_of(found['model']))}, study {escape(study)}</h3>{_counts(found)}{_front(found)}{shown}"


def _counts(found: Mapping[str, Any]) -> str:
    states = Counter(trial["state"] for trial in found["trials"])
    reasons = Counter(trial["reason"] for trial in found["trials"] if trial["state"] == "fail")
    words = ", ".join(f"{count} times: {reason}" for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))
    failed = f", {states['fail']} failed ({words})" if reasons else ""
    open_ones = len(found["trials"]) - states["complete"] - states["fail"]
    at_work = f", {open_ones} at work or cut off" if open_ones else ""
    return f"<p>{len(found['trials'])} trials: {states['complete']} complete{escape(failed)}{at_work}.</p>"


def _front(found: Mapping[str, Any]) -> str:
    trials = {trial["number"]: trial for trial in found["trials"]}
    if not found["front"]:
        return "<p>No trial has a score yet.</p>"
    names = list(trials[found["front"][0]]["params"])
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in ["trial", "DSC", "95HD, mm", *(_words(name) for name in names)])
    body = ""
    for number in found["front"]:
        trial = trials[number]
        first = f"{number} (knee)" if number == found["knee"] else str(number)
        cells = [f"{trial['val_dsc']:.3f}", f"{trial['val_hd95_mm']:.2f}", *(_value(trial["params"][name]) for name in names)]
        body += f'<tr><th scope="row">{first}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
    caption = "The Pareto front on validation patients, best DSC first."
    table = f"<table><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _figure(name: str, data: str) -> str:
    alt, caption = FIGURES[name]
    return f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
