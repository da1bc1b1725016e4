"""What an audit amounts to, in plain sentences: for the top of its page and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from angiosynth.privacy.power import least_others
from angiosynth.privacy.shared import others_in
from angiosynth.privacy.verdict import ATTACKS, COPIES
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
    """One plain sentence on the set, one on the worst-placed patient ("" in what may be released), and what to do next."""

    verdict: str
    sentence: str
    worst: str
    steps: tuple[str, ...]


def audit_summary(audit: Mapping[str, Any]) -> AuditSummary:
    """What the audit of a set amounts to.

    Args:
        audit: audit.json, or the fields of it that may be released.
    """
    verdict = audit["verdicts"]["set"]
    over_limit = [one for one in audit["findings"] if one["holder"] == "set" and one["state"] == verdict and verdict in ("over", "unclear")]
    passed = "; ".join(one["description"] for one in over_limit)
    sentence = SENTENCES[verdict] + (f" Over the limit: {passed}." if passed else "")
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
    """How many more people who were not trained on an attack on membership needs at least to be told from chance."""
    people, level = audit["patients"], audit["limits"]["alpha"] / len(audit["findings"])
    return max(0, least_others(people["training"], level) - others_in(people, labelled=False))


def _worst_placed(audit: Mapping[str, Any]) -> tuple[str, float]:
    """The measure of the set in which one patient stands out most, in words, and its p, corrected for the number of such measures."""
    measures: list[tuple[float, str]] = []
    for name, holder, _, description in ATTACKS:
        if holder == "set" and name in audit["membership"]:
            attack = audit["membership"][name]
            measures.append((attack["worst_p"], f"{description}: {attack['worst_excess']:+.1f} standard deviations from matched people"))
    for name, ending in COPIES.items():
        if name not in audit:
            continue
        copies = audit[name]
        one, other = (copies[f"{side}_counts"][-1] for side in ("member", "other"))
        text = f"{one} synthetic patches count as copies of one{ending}, and at most {other} of anybody who was not trained on"
        measures.append((copies["p_worst"], text))
    p, text = min(measures)
    return text, min(1.0, p * len(measures))
