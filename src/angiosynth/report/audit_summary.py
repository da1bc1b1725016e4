"""Summary of an audit in plain sentences, for the top of its page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from angiosynth.privacy.power import least_others
from angiosynth.privacy.shared import others_in
from angiosynth.privacy.verdict import ATTACKS, COPIES, DRAWN
from angiosynth.report.audit_tables import chance, is_shared

VERDICTS = {
    "not audited": "Not audited: no attack of this audit needs what this holder has. That does not say that none could be made.",
    "within": "No leak was found: no measure passed its limit by more than its control explains, and the leaks that were planted "
    "to test the audit were found. Leaks too small for so many patients to show are not ruled out.",
    "unclear": "Cannot be told: a measure passed its limit, but with these patients chance or plain differences may explain it.",
    "too few patients": "Cannot be told: with so few patients no attack on membership, however successful, could be told from chance.",
    "inconclusive": "Inconclusive: the audit missed leaks that were planted to test it, so it would miss others too.",
    "over": "A leak was found: a measure passed its limit beyond what chance and plain differences explain.",
}
SENTENCES = {
    "within": "No leak was found: the set may be released.",
    "unclear": "It cannot be told whether the set leaks, so keep it in the house: a measure passed its limit, and chance may explain it.",
    "too few patients": "It cannot be told whether the set leaks, so keep it in the house: too few people to tell a leak from chance.",
    "inconclusive": "The audit failed its own test, so keep the set in the house: leaks that were planted on purpose were missed.",
    "over": "The set leaks, so keep it in the house: a measure passed its limit, and neither chance nor its control explains it.",
}
MORE_PEOPLE = "Hold out more people for the audit (cohort.sites.SITE.split.held_out; they need no vessel label), then audit anew."
STEPS = {
    "within": (
        "python cli.py release NAME packs the set, and what of this audit may leave with it.",
        "Give away the set alone. For the generator and the critic see their verdicts.",
    ),
    "unclear": (
        MORE_PEOPLE,
        "Or take an earlier checkpoint, or train on more patients for fewer steps, and audit the set that comes of it.",
        "Leave the limits as they are: one that is changed after a look is a new choice, to be told beside the result.",
    ),
    "too few patients": (MORE_PEOPLE,),
    "inconclusive": (
        "See below which planted leak was missed.",
        "Where it was the overfitted generator, raise audit.overfit_steps; where it were planted copies, audit.checked. Then audit anew.",
    ),
    "over": (
        "See below which measures are over their limits, and in gallery.png the closest pairs of synthetic and real patches.",
        "Train on more patients, or for fewer steps, or take an earlier checkpoint, and audit the set that comes of it.",
        "Leave the limits as they are, and do not audit the same set until it passes: each try is one more chance of a false pass.",
    ),
}
STANDS_OUT = "Look at the patient who stands out, before anything leaves: gallery.png, and the figure of people below."


@dataclass(frozen=True)
class AuditSummary:
    """The verdict on the set, a sentence on it, one on the worst-placed patient ("" in a shared audit), and the next steps."""

    verdict: str
    sentence: str
    worst: str
    steps: tuple[str, ...]


def audit_summary(audit: Mapping[str, Any]) -> AuditSummary:
    """Summarise the audit of a set.

    Args:
        audit: audit.json, or a shared audit (`privacy.shared`).
    """
    verdict = audit["verdicts"]["set"]
    of_set = [finding for finding in audit["findings"] if finding["holder"] == "set"]
    # States of findings have the names of these two verdicts.
    over_limit = [finding for finding in of_set if finding["state"] == verdict and verdict in ("over", "unclear")]
    descriptions = "; ".join(finding["description"] for finding in over_limit)
    sentence = SENTENCES[verdict] + (f" Over the limit: {descriptions}." if descriptions else "")
    if is_shared(audit):
        return AuditSummary(verdict, sentence, "", ())
    text, p = _worst_placed(audit)
    stands_out = p <= audit["limits"]["alpha"]
    people = f"Of the {audit['patients']['training']} patients who were trained on, the worst-placed one"
    ending = f"p {chance(audit, p)}, corrected for the number of patients and of measures"
    worst = f"{people} {'stands out' if stands_out else 'is no further off than chance may bring anybody'} ({text}; {ending})."
    steps = STEPS[verdict]
    if verdict == "too few patients":
        steps = (f"At least {people_missing(audit)} more people who were not trained on are needed. {MORE_PEOPLE}",)
    return AuditSummary(verdict, sentence, worst, (*([STANDS_OUT] if stands_out else []), *steps))


def people_missing(audit: Mapping[str, Any]) -> int:
    """The smallest number of additional non-members with which an attack on membership can be significant."""
    people, level = audit["patients"], audit["limits"]["alpha"] / len(audit["findings"])
    return max(0, least_others(people["training"], level) - others_in(people, labelled=False))


def _worst_placed(audit: Mapping[str, Any]) -> tuple[str, float]:
    """Description of the measure with the smallest p of a worst-placed patient, and this p corrected for the number of measures."""
    measures: list[tuple[float, str]] = []
    for name, holder, _, description in ATTACKS:
        if holder == "set" and name in audit["membership"]:
            attack = audit["membership"][name]
            measures.append((attack["worst_p"], f"{description}: {attack['worst_excess']:+.1f} standard deviations from matched people"))
    for name, ending in COPIES.items():
        if name not in audit or name in DRAWN.values():
            continue
        copies = audit[name]
        of_member, of_other = (copies[f"{group}_counts"][-1] for group in ("member", "other"))  # sorted: the largest counts
        text = f"{of_member} synthetic patches count as copies of one{ending}, and at most {of_other} of anybody who was not trained on"
        measures.append((copies["p_worst"], text))
    p, text = min(measures)
    return text, min(1.0, p * len(measures))
