"""The audit as one page for a data-protection officer, and its section in the report. It shows no patient's patch and no name.

There are two pages: one that stays in the house, with exact figures and a dot a patient, and one that may be released, made of
`privacy.shared` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from angiosynth.privacy.power import least_others
from angiosynth.privacy.verdict import HOLDERS
from angiosynth.report.audit_tables import attacks_table, chance, evidence_table, is_shared, usefulness_table, worst_table
from angiosynth.report.rendering import Picture, Table, render, with_interval
from angiosynth.report.style import Look, name_of

VERDICTS = {
    "not audited": "Not audited: no attack of this audit needs what this holder has. That does not say that none could be made.",
    "within": "No leak was found: no measure passed its limit by more than its control explains, and the leaks that were planted "
    "to test the audit were found. Leaks too small for so many patients to show are not ruled out.",
    "unclear": "Cannot be told: a measure passed its limit, but with these patients chance or plain differences may explain it.",
    "too few patients": "Cannot be told: with so few patients no attack on membership, however successful, could be told from chance.",
    "inconclusive": "Inconclusive: the audit missed leaks that were planted to test it, so it would miss others too.",
    "over": "A leak was found: a measure passed its limit beyond what chance and plain differences explain.",
}
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
    "For each attack a dot a patient: training patients in one colour, test patients in another, by their scores.",
    "Scores of people. Where the orange dots lie above the blue ones, the attack tells who was trained on.",
)


def build_audit_page(audit: Mapping[str, Any], picture: bytes) -> str:
    """The whole page as HTML text: styles inline, nothing fetched.

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
        holders=HOLDERS,
        verdicts=_verdicts_table(audit),
        attacks=attacks_table(audit),
        picture=Picture.of(picture, *(SHARED_PICTURE if is_shared(audit) else HOUSE_PICTURE)),
        evidence=[(name, question, evidence_table(audit, name)) for name, question in CRITERIA],
        worst=None if is_shared(audit) else worst_table(audit),
        few_others=_people_needed(audit),
        usefulness=usefulness_table(audit),
        chance=partial(chance, audit),
    )


def _people_needed(audit: Mapping[str, Any]) -> int:
    """How many people who were not trained on an attack on membership needs at least; 0 where there are so many."""
    people, level = audit["patients"], audit["limits"]["alpha"] / len(audit["findings"])
    needed = least_others(people["training"], level)
    return needed if needed > people["test"] else 0


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
        attack, copies = audit["membership"]["images"], f"{audit['copies']['copies_count']} of {audit['n_synthetic']}"
        figures = [with_interval(attack, "auc", ".2f"), f"{attack['control']:.2f}", copies, f"{audit['linkage']['excess']:+.3f}"]
        rows.append([name_of(model), audit["verdicts"]["set"], *figures])
    head = ["set", "verdict on the set", "AUC, nearest image", "its control", "copies", "linkage above others"]
    caption = "What each set gives away about its training patients; in brackets the 95% bootstrap interval over people."
    shown = dict.fromkeys(row[1] for row in rows)
    return AuditOverview(Table(caption, head, rows), [f"{verdict}: {VERDICTS[verdict]}" for verdict in shown])
