"""From an audit's numbers to words, by limits that were fixed before: what was found, per measure and over all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from angiosynth.settings.audit import AuditLimits

State = Literal["within", "unclear", "over"]
Verdict = Literal["not audited", "over", "too few patients", "inconclusive", "unclear", "within"]
Holder = Literal["set", "generator", "critic"]
HOLDERS: tuple[Holder, ...] = ("set", "generator", "critic")  # each holds what those before it hold
ATTACKS: tuple[tuple[str, Holder, str, str], ...] = (
    ("images", "set", "singling out", "membership by the nearest synthetic image"),
    ("images_closest", "set", "singling out", "membership by a patient's closest patches"),
    ("features", "set", "singling out", "membership by the nearest synthetic image in U-net features"),
    ("inference", "set", "inference", "membership by how well the set tells a patient's labels"),
    ("generator", "generator", "singling out", "membership by reconstruction with the generator"),
    ("critic", "critic", "singling out", "membership by the critic's score"),
)


@dataclass(frozen=True)
class Finding:
    """One measure beside its limit.

    `control`: what the same measure gives where the GAN plays no part. `state`: "over" the limit beyond what chance and control
    explain; "unclear" where it is over, but chance or control may explain it; "within".
    """

    name: str
    holder: Holder
    criterion: str
    what: str
    value: float
    low: float
    high: float
    control: float
    limit: float
    state: State


def judge(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, Any]:
    """Findings, what the planted leaks show, and for each holder one verdict.

    Args:
        numbers: of one audit: membership (name -> what `membership` gives), linkage, nearer, copies,
            copies_features, planted, overfitted.
        limits: section audit.limits.

    Returns:
        findings; controls (holder -> whether its attacks found what was planted); verdicts (holder -> "not audited" where the kind has
        nothing of the sort to attack, else "over", "too few patients", "inconclusive", "unclear" or "within", the first that applies).
    """
    found = numbers["membership"]
    findings = [_attack(found[name], name, holder, criterion, what, limits) for name, holder, criterion, what in ATTACKS if name in found]
    findings += [_linkage(numbers["linkage"], limits)]
    findings += [_copies(name, numbers[name], limits) for name in ("copies", "copies_features")]
    findings += [_nearer(space, numbers["nearer"][space], limits) for space in ("images", "features")]
    controls = controls_found(numbers, limits)
    few = numbers["membership"]["images"]["least_p"] > limits.alpha
    verdicts: dict[Holder, Verdict] = {}
    for place, holder in enumerate(HOLDERS):
        held = HOLDERS[: place + 1]
        if not any(finding.holder == holder for finding in findings):
            verdicts[holder] = "not audited"
            continue
        states = {finding.state for finding in findings if finding.holder in held}
        verdicts[holder] = _verdict(states, few, blind=not all(controls[one] for one in held))
    return {"findings": [asdict(finding) for finding in findings], "controls": controls, "verdicts": verdicts}


def _verdict(states: set[State], few: bool, blind: bool) -> Verdict:
    """The first that applies: a leak that was found stays one, whatever else the audit cannot tell."""
    if "over" in states:
        return "over"
    if few:
        return "too few patients"
    if blind:
        return "inconclusive"
    if "unclear" in states:
        return "unclear"
    return "within"


def controls_found(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, bool]:
    """Whether the leaks made on purpose were found, by what each holder has.

    The set's: the searches for copies must find every planted share, the attack on membership the greatest of them, and both it and
    linkage the GAN that was overfitted to one patient.
    """
    planted, overfitted = numbers["planted"], numbers["overfitted"]
    greatest = max(planted, key=lambda one: float(one["share"]))
    seen: dict[str, bool] = {name: overfitted[name]["auc"] > limits.auc and overfitted[name]["p"] <= limits.alpha for name in HOLDERS}
    searched = all(one[name] > limits.copies for one in planted for name in ("copies", "copies_features"))
    linked = overfitted["linkage"]["first"] and overfitted["linkage"]["share"] > overfitted["linkage"]["share_held_out"] + limits.linkage
    return {**seen, "set": bool(seen["set"] and searched and greatest["auc"] > limits.auc and greatest["p"] <= limits.alpha and linked)}


def _attack(found: Mapping[str, Any], name: str, holder: Holder, criterion: str, what: str, limits: AuditLimits) -> Finding:
    """Over: the AUC passes its limit, the control's AUC lies well below it, and neither chance nor the control explains it."""
    passes = found["auc"] > limits.auc and found["excess"] > limits.excess
    shown = found["p"] <= limits.alpha and found["excess_low"] > 0
    state: State = "within" if not passes else "over" if shown else "unclear"
    return Finding(name, holder, criterion, what, found["auc"], found["auc_low"], found["auc_high"], found["control"], limits.auc, state)


def _linkage(found: Mapping[str, Any], limits: AuditLimits) -> Finding:
    state: State = "within" if found["excess"] <= limits.linkage else "over" if found["excess_low"] > 0 else "unclear"
    what = "linkage: the nearest training patches are of one patient"
    low, high = found["held_out"] + found["excess_low"], found["held_out"] + found["excess_high"]
    limit = found["held_out"] + limits.linkage
    return Finding("linkage", "set", "linkability", what, found["agreement"], low, high, found["held_out"], limit, state)


def _copies(name: str, found: Mapping[str, Any], limits: AuditLimits) -> Finding:
    value, usual = found["copies"], found["copies_held_out"]
    state: State = "within" if value <= limits.copies else "over" if value > usual + limits.copies else "unclear"
    what = "copies: much nearer to a training patch than to anybody else's" + (" in U-net features" if name == "copies_features" else "")
    return Finding(name, "set", "singling out", what, value, value, value, usual, limits.copies, state)


def _nearer(space: str, found: Mapping[str, float], limits: AuditLimits) -> Finding:
    passes = found["nearer"] > limits.nearer and found["nearer"] - found["nearer_third"] > limits.excess
    state: State = "within" if not passes else "over" if found["nearer_low"] > 0.5 else "unclear"
    what = "synthetic patches nearer to training patients than to as many others" + (" in U-net features" if space == "features" else "")
    return Finding(
        f"nearer_{space}",
        "set",
        "singling out",
        what,
        found["nearer"],
        found["nearer_low"],
        found["nearer_high"],
        found["nearer_third"],
        limits.nearer,
        state,
    )
