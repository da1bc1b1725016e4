"""The report: a self-contained HTML page that needs no other files and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from angiosynth.report.audit_page import audit_overview
from angiosynth.report.captions import CAPTIONS, GLOSSARY, TITLES
from angiosynth.report.rendering import Picture, read_figure, render
from angiosynth.report.style import Look
from angiosynth.report.sweep_page import study_sections
from angiosynth.report.tables import cards_table, paper_table, results_table, settings_table, transfer_tables
from angiosynth.report.verdicts import transfer_verdicts, verdicts, worth_verdicts


@dataclass(frozen=True)
class PageContext:
    """Everything that the page shows."""

    evaluation: Mapping[str, Any]  # metrics/evaluation.json
    transfer: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]  # metrics/transfer.json
    figures: Mapping[str, Path]  # name -> PNG file; those of CAPTIONS, and any others
    settings: Mapping[str, Any] = field(default_factory=dict)  # title -> displayed setting
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # model -> card.json of its synthetic set
    notes: Sequence[str] = ()  # remarks on the data, such as an estimated voxel size
    sweeps: Sequence[Mapping[str, Any]] = ()  # contents of sweeps/<study>.json
    sweep_figures: Mapping[tuple[str, str], Path] = field(default_factory=dict)  # (study, name) -> PNG
    audits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # model -> audit.json
    worth: Mapping[str, Any] = field(default_factory=dict)  # metrics/worth.json


def build_page(context: PageContext) -> str:
    """Build the page as HTML text with inline styles, embedded figures, no scripts and no external resources.

    Raises:
        InputError: a figure is missing.
    """
    evaluation, look = context.evaluation, Look.of(context.evaluation)
    pictures = {name: _picture(name, path) for name, path in context.figures.items()}
    others = [name for name in pictures if name not in CAPTIONS]
    optional = {
        **{name: name in pictures for name in ("pairs", "patient", "worth", "curves", "progress")},
        **{"data": context.notes, "privacy": context.audits, "sweeps": context.sweeps, "others": others},
        **{"sets": context.cards, "settings": context.settings},
    }
    return render(
        "report.html",
        titles=TITLES,
        contents=[(name, title) for name, title in TITLES.items() if optional.get(name, True)],
        glossary=GLOSSARY,
        verdicts=verdicts(evaluation),
        n_patients=evaluation["real"]["n_patients"],
        n_seeds=evaluation["real"]["n_seeds"],
        notes=context.notes,
        results=results_table(evaluation),
        paper=paper_table(),
        pictures=pictures,
        others=others,
        worth_verdicts=worth_verdicts(context.worth, look),
        transfer_tables=transfer_tables(context.transfer, look),
        transfer_verdicts=transfer_verdicts(context.transfer, evaluation["chosen_by_validation"], look),
        audits=audit_overview(context.audits, look) if context.audits else None,
        studies=study_sections(context.sweeps, context.sweep_figures),
        cards=cards_table(context.cards) if context.cards else None,
        settings=settings_table(context.settings) if context.settings else None,
    )


def _picture(name: str, path: Path) -> Picture:
    alt, caption = CAPTIONS.get(name, (name.replace("-", " "), name.replace("-", " ")))
    return Picture.of(read_figure(path), alt, caption)
