"""From an audit's numbers to words, by limits that were fixed before: a state for each measure, a verdict for each holder.

Every measure has a test with the person as its unit. The more measures, the more of them pass a limit by chance, so their p are corrected
by Holm's procedure: the probability that any measure of a harmless set is called over its limit stays below alpha, however the
measures depend on one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    Attack("medoids", "set", "singling out", "membership by the medoids of the set's clusters, in U-net features"),
    Attack("inference", "set", "inference", "membership by how well the set predicts a patient's labels"),
    Attack("generator", "generator", "singling out", "membership by reconstruction with the generator"),
    Attack("critic", "critic", "singling out", "membership by the critic's score"),
)

LABELLED = frozenset({"inference", "generator", "critic"})  # attacks for which a person needs a vessel label


# Space of a search for copies -> end of its words for the page. An audit without a detector has no copies_learned.
COPIES = {
    "copies": "",
    "copies_features": ", in U-net features",
    "copies_learned": ", in a learnt embedding",
    "copies_labels": ", in label maps",
    "copies_pairs": ", in image and label together",
}


@dataclass(frozen=True)
class Measure:
    """One measure beside its limit, as it stands in audit.json under `findings`.

    control: what the same measure gives where the generator plays no part. passes: it is over its limit, and the control well below it.
    p: of chance. corrected_p: for the number of measures. state: "over" where it passes and chance does not explain it, "unclear" where
    chance may, "within" where it does not pass.
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
    measures += [_copies_measure(name, numbers[name], limits) for name in COPIES if name in numbers]
    measures += [_nearer_measure(space, numbers["nearer"][space], limits) for space in ("images", "features")]
    corrected = holm([measure.p for measure in measures])
    measures = [measure.judged(p, limits.alpha) for measure, p in zip(measures, corrected, strict=True)]
    controls = controls_detected(numbers, limits)
    few = membership["images"]["least_p"] * len(measures) > limits.alpha  # then no attack on membership can ever be over its limit
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
    searched = all(one[name] > limits.copies for one in planted for name in COPIES if name in one)
    linked = overfitted["linkage"]["first"] and overfitted["linkage"]["share"] > overfitted["linkage"]["share_held_out"] + limits.linkage
    by_set = detected["set"] and searched and greatest["auc"] > limits.auc and greatest["p"] <= limits.alpha and linked
    return {**detected, "set": bool(by_set)}


def holm(p: Sequence[float]) -> list[float]:
    """Correct p for the number of tests, step down (Holm 1979): none of them lower than p, none greater than 1.

    The least is multiplied by the number of tests, the next by one less, and so on; none becomes less than one before it.
    """
    corrected = [1.0] * len(p)
    greatest = 0.0
    for place, number in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        greatest = max(greatest, min(1.0, (len(p) - place) * p[number]))
        corrected[number] = greatest
    return corrected


def _membership_measure(attack: Attack, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """It passes where the AUC is over its limit and the control's AUC well below it."""
    passes = statistics["auc"] > limits.auc and statistics["excess"] > limits.excess
    # What the control may explain is no evidence, whatever the rank test says.
    p = statistics["p"] if statistics["excess_low"] > 0 else 1.0
    value, low, high, control = (statistics[name] for name in ("auc", "auc_low", "auc_high", "control"))
    return Measure(*attack, value, low, high, control, limits.auc, bool(passes), p)


def _linkage_measure(statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """The limit is that of held-out patients' real patches and the allowed excess above it."""
    description = "linkage: the nearest training patches are of one patient"
    control = statistics["held_out"]
    low, high = control + statistics["excess_low"], control + statistics["excess_high"]
    limit, passes = control + limits.linkage, bool(statistics["excess"] > limits.linkage)
    return Measure(
        "linkage", "set", "linkability", description, statistics["agreement"], low, high, control, limit, passes, statistics["p"]
    )


def _copies_measure(name: str, statistics: Mapping[str, Any], limits: AuditLimits) -> Measure:
    """It passes where copies are a greater share of the set than allowed beyond those that people who were not trained on seem to have."""
    value, low, high = (statistics[f"copies{end}"] for end in ("", "_low", "_high"))
    control = statistics["copies_held_out"]
    description = f"copies: distinctive, and much nearer to one training patient than to anybody else{COPIES[name]}"
    passes = bool(value > control + limits.copies)
    return Measure(name, "set", "singling out", description, value, low, high, control, limits.copies, passes, statistics["p"])


def _nearer_measure(space: str, statistics: Mapping[str, float], limits: AuditLimits) -> Measure:
    value, control = statistics["nearer"], statistics["nearer_validation"]
    passes = value > limits.nearer and value - control > limits.excess
    low, high, p = statistics["nearer_low"], statistics["nearer_high"], statistics["nearer_p"]
    ending = " in U-net features" if space == "features" else ""
    description = f"synthetic patches nearer to training patients than to as many others{ending}"
    return Measure(f"nearer_{space}", "set", "singling out", description, value, low, high, control, limits.nearer, passes, p)
