"""From an audit's numbers to words, by limits that were fixed before: a state for each measure, a verdict for each holder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from angiosynth.settings.audit import AuditLimits

State = Literal["within", "unclear", "over"]
Verdict = Literal["not audited", "over", "too few patients", "inconclusive", "unclear", "within"]
Holder = Literal["set", "generator", "critic"]
HOLDERS: tuple[Holder, ...] = ("set", "generator", "critic")  # each holds what those before it hold


class Attack(NamedTuple):
    """One attack on membership: its key in audit.json, who can make it, the criterion it speaks to, and words for the page."""

    name: str
    holder: Holder
    criterion: str
    description: str


ATTACKS = (
    Attack("images", "set", "singling out", "membership by the nearest synthetic image"),
    Attack("images_closest", "set", "singling out", "membership by a patient's closest patches"),
    Attack("features", "set", "singling out", "membership by the nearest synthetic image in U-net features"),
    Attack("inference", "set", "inference", "membership by how well the set predicts a patient's labels"),
    Attack("generator", "generator", "singling out", "membership by reconstruction with the generator"),
    Attack("critic", "critic", "singling out", "membership by the critic's score"),
)


@dataclass(frozen=True)
class Measure:
    """One measure beside its limit, as it stands in audit.json under `findings`.

    control: what the same measure gives where the generator plays no part. state: "over" the limit beyond what chance and control
    explain; "unclear" where it is over, but chance or control may explain it; "within".
    """

    name: str
    holder: Holder
    criterion: str
    description: str
    value: float
    low: float
    high: float
    control: float
    limit: float
    state: State


def judge(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, Any]:
    """Compare every measure with its limit, check the planted leaks, and give one verdict for each holder.

    Args:
        numbers: of one audit: membership (name -> `membership_statistics`), linkage, nearer, copies, copies_features, planted,
            overfitted.
        limits: section audit.limits.

    Returns:
        findings (each `Measure` as a mapping); controls (holder -> whether its attacks found the planted leaks); verdicts (holder ->
        "not audited" where no attack was made, else "over", "too few patients", "inconclusive", "unclear" or
        "within", the first that applies).
    """
    membership = numbers["membership"]
    measures = [_membership_measure(attack, membership[attack.name], limits) for attack in ATTACKS if attack.name in membership]
    measures += [_linkage_measure(numbers["linkage"], limits)]
    measures += [_copies_measure(name, numbers[name], limits) for name in ("copies", "copies_features")]
    measures += [_nearer_measure(space, numbers["nearer"][space], limits) for space in ("images", "features")]
    controls = controls_detected(numbers, limits)
    few = membership["images"]["least_p"] > limits.alpha
    verdicts: dict[Holder, Verdict] = {}
    for place, holder in enumerate(HOLDERS):
        held = HOLDERS[: place + 1]
        if not any(measure.holder == holder for measure in measures):
            verdicts[holder] = "not audited"
            continue
        states = {measure.state for measure in measures if measure.holder in held}
        verdicts[holder] = _verdict(states, few, blind=not all(controls[one] for one in held))
    return {"findings": [asdict(measure) for measure in measures], "controls": controls, "verdicts": verdicts}


def _verdict(states: set[State], few: bool, blind: bool) -> Verdict:
    """The first that applies: a detected leak counts, however little else the audit can tell."""
    if "over" in states:
        return "over"
    if few:
        return "too few patients"
    if blind:
        return "inconclusive"
    if "unclear" in states:
        return "unclear"
    return "within"


def controls_detected(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, bool]:
    """Whether the leaks made on purpose were detected, holder -> yes or no.

    For the set: the searches for copies must find every planted share, the attack on membership the greatest of them, and both that
    attack and linkage the generator that was overfitted to one patient. For the others: their attack must find the overfitted one.
    """
    planted, overfitted = numbers["planted"], numbers["overfitted"]
    greatest = max(planted, key=lambda one: float(one["share"]))
    detected: dict[str, bool] = {name: overfitted[name]["auc"] > limits.auc and overfitted[name]["p"] <= limits.alpha for name in HOLDERS}
    searched = all(one[name] > limits.copies for one in planted for name in ("copies", "copies_features"))
    linked = overfitted["linkage"]["first"] and overfitted["linkage"]["share"] > overfitted["linkage"]["share_held_out"] + limits.linkage
    by_set = detected["set"] and searched and greatest["auc"] > limits.auc and greatest["p"] <= limits.alpha and linked
    return {**detected, "set": bool(by_set)}


def _membership_measure(attack: Attack, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """Over: the AUC passes its limit, the control's AUC lies well below it, and neither chance nor the control explains it."""
    passes = statistics["auc"] > limits.auc and statistics["excess"] > limits.excess
    significant = statistics["p"] <= limits.alpha and statistics["excess_low"] > 0
    state: State = "within" if not passes else "over" if significant else "unclear"
    value, low, high, control = (statistics[name] for name in ("auc", "auc_low", "auc_high", "control"))
    return Measure(*attack, value, low, high, control, limits.auc, state)


def _linkage_measure(statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """The limit is that of held-out patients' real patches and the allowed excess above it."""
    state: State = "within" if statistics["excess"] <= limits.linkage else "over" if statistics["excess_low"] > 0 else "unclear"
    description = "linkage: the nearest training patches are of one patient"
    control = statistics["held_out"]
    low, high = control + statistics["excess_low"], control + statistics["excess_high"]
    limit = control + limits.linkage
    return Measure("linkage", "set", "linkability", description, statistics["agreement"], low, high, control, limit, state)


def _copies_measure(name: str, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    value, control = statistics["copies"], statistics["copies_held_out"]
    state: State = "within" if value <= limits.copies else "over" if value > control + limits.copies else "unclear"
    space = " in U-net features" if name == "copies_features" else ""
    description = f"copies: much nearer to a training patch than to anybody else's{space}"
    return Measure(name, "set", "singling out", description, value, value, value, control, limits.copies, state)


def _nearer_measure(space: str, statistics: Mapping[str, float], limits: AuditLimits) -> Measure:
    value, control = statistics["nearer"], statistics["nearer_validation"]
    passes = value > limits.nearer and value - control > limits.excess
    low, high = statistics["nearer_low"], statistics["nearer_high"]
    state: State = "within" if not passes else "over" if low > 0.5 else "unclear"
    ending = " in U-net features" if space == "features" else ""
    description = f"synthetic patches nearer to training patients than to as many others{ending}"
    return Measure(f"nearer_{space}", "set", "singling out", description, value, low, high, control, limits.nearer, state)
