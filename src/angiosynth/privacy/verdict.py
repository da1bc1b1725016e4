"""Verdicts from the numbers of an audit, by limits that were fixed in advance: a state for each measure, a verdict for each holder.

Every measure has a test with the person as its unit. Since more measures exceed their limits by chance the more there are, p values are
corrected by Holm's procedure: the probability that any measure of a harmless set is reported as over its limit is at most alpha,
whatever the dependence between measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from angiosynth.settings.audit import AuditLimits

State = Literal["within", "unclear", "over"]
Verdict = Literal["not audited", "over", "too few patients", "inconclusive", "unclear", "within"]
Holder = Literal["set", "generator", "critic"]
HOLDERS: tuple[Holder, ...] = ("set", "generator", "critic")  # each also holds what the holders before it hold


class Attack(NamedTuple):
    """An attack on membership: its key in audit.json, what it needs, the criterion that it tests, and its description on the page."""

    name: str
    holder: Holder
    criterion: str
    description: str


ATTACKS = (
    Attack("images", "set", "singling out", "membership by the nearest synthetic image"),
    Attack("images_closest", "set", "singling out", "membership by a patient's closest patches"),
    Attack("features", "set", "singling out", "membership by the nearest synthetic image in U-net features"),
    Attack("medoids", "set", "singling out", "membership by the medoids of the set's clusters, in U-net features"),
    Attack("inference", "set", "inference", "membership by how well the set predicts a patient's labels"),
    Attack("generator", "generator", "singling out", "membership by reconstruction with the generator"),
    Attack("critic", "critic", "singling out", "membership by the critic's score"),
)

LABELLED = frozenset({"inference", "generator", "critic"})  # attacks on people with a vessel label only


# Search for copies -> end of its description on the page. An audit has copies_learned if it has a detector, and the last two if
# `audit.drawn_labels` is on and U-nets labelled the set.
COPIES = {
    "copies": "",
    "copies_features": ", in U-net features",
    "copies_learned": ", in a learnt embedding",
    "copies_labels": ", in label maps",
    "copies_pairs": ", in image and label together",
    "copies_drawn_labels": ", in label maps that the generator draws itself",
    "copies_drawn_pairs": ", in image and the generator's own label together",
}
# Search in the labels of a set that U-nets labelled -> the same search in the labels that its generator draws, which its holder has.
DRAWN = {"copies_labels": "copies_drawn_labels", "copies_pairs": "copies_drawn_pairs"}


@dataclass(frozen=True)
class Measure:
    """A measure and its limit, an entry of `findings` in audit.json.

    Attributes:
        control: the same measure without the generator.
        passes: whether the value exceeds its limit, and the control by the margin of the settings.
        p: p value of the measure's test.
        corrected_p: p corrected for the number of measures.
        state: "over" if it passes and is significant, "unclear" if it passes and is not significant, "within" if it does not pass.
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
    passes: bool
    p: float
    corrected_p: float = 1.0
    state: State = "within"

    def judged(self, corrected_p: float, alpha: float) -> Measure:
        """The measure with its corrected p and its state."""
        state: State = "within" if not self.passes else "over" if corrected_p <= alpha else "unclear"
        return replace(self, corrected_p=corrected_p, state=state)


def judge(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, Any]:
    """Compare every measure with its limit, check the planted leaks, and give one verdict for each holder.

    Args:
        numbers: results of an audit: membership (name -> `membership_statistics`), linkage, nearer, copies, copies_features, planted,
            overfitted.
        limits: section audit.limits.

    Returns:
        findings: each `Measure` as a mapping. controls: holder -> whether its attacks detected the planted leaks. verdicts: holder ->
        "not audited" if there was no attack, otherwise the first of "over", "too few patients", "inconclusive", "unclear" and "within"
        that applies.
    """
    membership = numbers["membership"]
    measures = [_membership_measure(attack, membership[attack.name], limits) for attack in ATTACKS if attack.name in membership]
    measures += [_linkage_measure(numbers["linkage"], limits)]
    measures += [_copies_measure(name, numbers[name], limits) for name in COPIES if name in numbers]
    measures += [_nearer_measure(space, numbers["nearer"][space], limits) for space in ("images", "features")]
    corrected = holm([measure.p for measure in measures])
    measures = [measure.judged(p, limits.alpha) for measure, p in zip(measures, corrected, strict=True)]
    controls = controls_detected(numbers, limits)
    # Whether even a perfect attack on membership would not be significant.
    too_few = membership["images"]["least_p"] * len(measures) > limits.alpha
    verdicts: dict[Holder, Verdict] = {}
    for number, holder in enumerate(HOLDERS):
        included = HOLDERS[: number + 1]
        # an attack on people decides: a search for copies alone does not audit a holder
        if not any(measure.holder == holder and measure.name not in COPIES for measure in measures):
            verdicts[holder] = "not audited"
            continue
        states = {measure.state for measure in measures if measure.holder in included}
        verdicts[holder] = _verdict(states, too_few, missed_controls=not all(controls[other] for other in included))
    return {"findings": [asdict(measure) for measure in measures], "controls": controls, "verdicts": verdicts}


def _verdict(states: set[State], too_few: bool, missed_controls: bool) -> Verdict:
    """The first verdict that applies. A detected leak counts even if the audit is otherwise inconclusive."""
    if "over" in states:
        return "over"
    if too_few:
        return "too few patients"
    if missed_controls:
        return "inconclusive"
    if "unclear" in states:
        return "unclear"
    return "within"


def controls_detected(numbers: Mapping[str, Any], limits: AuditLimits) -> dict[str, bool]:
    """Whether the leaks made on purpose were detected, for each holder.

    Set: the searches for copies must detect every planted share, the attack on membership must detect the largest, and both that attack
    and linkage must detect the overfitted generator. Generator and critic: their attack must detect the overfitted generator.
    """
    planted, overfitted = numbers["planted"], numbers["overfitted"]
    greatest = max(planted, key=lambda result: float(result["share"]))
    detected: dict[str, bool] = {name: overfitted[name]["auc"] > limits.auc and overfitted[name]["p"] <= limits.alpha for name in HOLDERS}
    searched = all(result[name] > limits.copies for result in planted for name in COPIES if name in result)
    linked = overfitted["linkage"]["first"] and overfitted["linkage"]["share"] > overfitted["linkage"]["share_held_out"] + limits.linkage
    by_set = detected["set"] and searched and greatest["auc"] > limits.auc and greatest["p"] <= limits.alpha and linked
    return {**detected, "set": bool(by_set)}


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values for the number of tests by the step-down procedure of Holm (1979).

    The smallest p is multiplied by the number of tests, the next by one less, and so on. Corrected values are at most 1 and in the same
    order as p.
    """
    corrected = [1.0] * len(p)
    greatest = 0.0
    for rank, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p) - rank) * p[number]))
        corrected[number] = greatest
    return corrected


def _membership_measure(attack: Attack, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """Passes if the AUC exceeds its limit, and the control's AUC by `limits.excess`."""
    passes = statistics["auc"] > limits.auc and statistics["excess"] > limits.excess
    # An excess that the control may explain is no evidence, whatever the p of the rank test.
    p = statistics["p"] if statistics["excess_low"] > 0 else 1.0
    value, low, high, control = (statistics[name] for name in ("auc", "auc_low", "auc_high", "control"))
    return Measure(*attack, value, low, high, control, limits.auc, bool(passes), p)


def _linkage_measure(statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """Passes if the agreement exceeds that of held-out patients' real patches by `limits.linkage`."""
    description = "linkage: the nearest training patches are of one patient"
    control = statistics["held_out"]
    low, high = control + statistics["excess_low"], control + statistics["excess_high"]
    limit, passes = control + limits.linkage, bool(statistics["excess"] > limits.linkage)
    return Measure(
        "linkage", "set", "linkability", description, statistics["agreement"], low, high, control, limit, passes, statistics["p"]
    )


def _copies_measure(name: str, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """Passes if the share of copies exceeds the one expected from people who were not trained on by `limits.copies`."""
    value, low, high = (statistics[f"copies{end}"] for end in ("", "_low", "_high"))
    control = statistics["copies_held_out"]
    description = f"copies: distinctive, and much nearer to one training patient than to anybody else{COPIES[name]}"
    passes = bool(value > control + limits.copies)
    holder: Holder = "generator" if name in DRAWN.values() else "set"
    return Measure(name, holder, "singling out", description, value, low, high, control, limits.copies, passes, statistics["p"])


def _nearer_measure(space: str, statistics: Mapping[str, float], limits: AuditLimits) -> Measure:
    value, control = statistics["nearer"], statistics["nearer_validation"]
    passes = value > limits.nearer and value - control > limits.excess
    low, high, p = statistics["nearer_low"], statistics["nearer_high"], statistics["nearer_p"]
    ending = " in U-net features" if space == "features" else ""
    description = f"synthetic patches nearer to training patients than to as many others{ending}"
    return Measure(f"nearer_{space}", "set", "singling out", description, value, low, high, control, limits.nearer, passes, p)
