"""The audit as one page for a data-protection officer, and its section in the report. It shows no patient's patch and no name.

There are two pages: one that stays in the house, with exact figures and a dot a patient, and one that may be released, made of
`privacy.shared` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from angiosynth.privacy.verdict import HOLDERS
from angiosynth.report.audit_summary import VERDICTS, audit_summary, people_missing
from angiosynth.report.audit_tables import attacks_table, chance, evidence_table, grounds_table, is_shared, usefulness_table, worst_table
from angiosynth.report.rendering import Picture, Table, render, with_interval
from angiosynth.report.style import Look, name_of

RELEASED = {
    "set": "the set of patches",
    "generator": "the generator too (riskier: any number of sets can be drawn from it, and it can be searched)",
    "critic": "the critic as well",
}
CRITERIA = (
    ("singling out", "Can one person be picked out by the set?"),
    ("linkability", "Can patches of the set be tied to one another or to a person?"),
    ("inference", "Can something about a person be learnt from the set that is not true of people in general?"),
)
SHARED_PICTURE = (
    "For each attack its AUC with the interval over people, and beside it the same of its control.",
    "The attacks and their controls. An attack tells who was trained on where it lies above guessing and above its control.",
)
HOUSE_PICTURE = (
    "A dot a person: training patients in one colour, others in another; left by their excess in each attack, right by their copies.",
    "Left each person's excess in each attack over matched people who were not trained on, in their standard deviations; right how many "
    "synthetic patches count as copies of each. Where orange dots lie above all blue ones, the attack recognises these patients.",
)


def build_audit_page(audit: Mapping[str, Any], picture: bytes) -> str:
    """Return the whole page as HTML text: styles inline, nothing fetched.

    Args:
        audit: audit.json, or the fields of it that may be released (`shared_audit`).
        picture: the PNG of `patient_scores_figure`, or of `attacks_figure` for the page that may be released.
    """
    return render(
        "audit.html",
        audit=audit,
        model=name_of(audit["model"]),
        promise=audit.get("promise", {}),
        shared=is_shared(audit),
        summary=audit_summary(audit),
        holders=HOLDERS,
        verdicts=_verdicts_table(audit),
        attacks=attacks_table(audit),
        picture=Picture.of(picture, *(SHARED_PICTURE if is_shared(audit) else HOUSE_PICTURE)),
        evidence=[(name, question, evidence_table(audit, name)) for name, question in CRITERIA],
        worst=None if is_shared(audit) else worst_table(audit),
        people_missing=people_missing(audit),
        grounds=grounds_table(audit),
        usefulness=usefulness_table(audit),
        chance=partial(chance, audit),
    )


def _verdicts_table(audit: Mapping[str, Any]) -> Table:
    """From the set alone to whoever holds most, in whatever order JSON had them."""
    verdicts = [(holder, audit["verdicts"][holder]) for holder in HOLDERS]
    rows = [[RELEASED[holder], verdict, VERDICTS[verdict]] for holder, verdict in verdicts]
    return Table("The verdict of the audit for each thing that may be given away.", ["if released", "verdict", "meaning"], rows, prose=True)


@dataclass(frozen=True)
class AuditOverview:
    """The report's table of all audits, and the meaning of each verdict in it."""

    table: Table
    verdicts: Sequence[str]


def audit_overview(audits: Mapping[str, Mapping[str, Any]], look: Look) -> AuditOverview:
    """One row for each set, in the order of the report.

    Args:
        audits: model -> audit.json.
        look: of the report, for the order.
    """
    rows = []
    for model in look.ordered(audits):
        audit = audits[model]
        attack, copies = audit["membership"]["images"], f"{audit['copies']['copies_count']} of {audit['n_audited']}"
        figures = [with_interval(attack, "auc", ".2f"), f"{attack['control']:.2f}", copies, f"{audit['linkage']['excess']:+.3f}"]
        rows.append([name_of(model), audit["verdicts"]["set"], *figures])
    head = ["set", "verdict on the set", "AUC, nearest image", "its control", "copies", "linkage above others"]
    caption = "What each set gives away about its training patients; in brackets the 95% bootstrap interval over people."
    shown = dict.fromkeys(row[1] for row in rows)
    return AuditOverview(Table(caption, head, rows), [f"{verdict}: {VERDICTS[verdict]}" for verdict in shown])
