"""The fields of an audit that may be released: selected by name, and rounded so that no figure reveals a single person's score.

An audit contains scores of single people, and statistics over so few people that whoever has the scans of all others could compute the
contribution of the last one. Whoever has a person's scan could compute that person's score with the public code and look it up. So by
default nothing is released: only the fields named here are, and their figures are rounded.

Rounding. Replacing one of m members or n others changes an AUC, or a share of people, by at most 1/min(m, n). Such figures are rounded to
a step no finer than that, so that replacing a person changes no figure by more than one step. Other figures over patients' patches are
rounded to the nearest of ten values per decade. This is not differential privacy: whoever has the scans of all people but one may still
learn which of two neighbouring values the last person's data gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from angiosynth.privacy.membership import least_p
from angiosynth.privacy.power import AUCS
from angiosynth.privacy.verdict import ATTACKS, COPIES, HOLDERS, LABELLED

STEPS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
P_BOUNDS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0)  # an exact p would reveal the exact AUC
TEN_A_DECADE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0, 10.0)  # preferred numbers, ISO 3
LEAST_COPIES = 0.001  # step of shares of copies if the limit is 0
LIKENESS_STEP = 0.1  # step of precision, recall, density and coverage
ENDS = ("", "_low", "_high")  # a figure and the ends of its interval, which are rounded outwards so that it never becomes narrower
PEOPLE = ("training", "validation", "test", "held_out", "held_out_labelled")
LIKENESS = ("precision", "recall", "density", "coverage")
VESSELS = ("fraction", "calibre_px", "components", "empty")
# Settings that a reader needs to judge the audit; not the seed, with which the random draws could be repeated.
SETTINGS = (
    *("bootstrap", "checked", "compared", "reconstructed", "reconstruction_steps"),
    *("planted", "overfit_patches", "overfit_steps", "drawn_labels"),
)
LIMITS = ("auc", "excess", "copies", "copy_ratio", "distinctive", "distinctive_labels", "nearer", "linkage", "alpha")


def shared_audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce audit.json to the fields that a package and a tracking server may hold.

    Args:
        audit: the confidential audit.json with exact figures.

    Returns:
        The same tree with only the keys named in this module, and rounded figures; rounded_to is the step of figures over people.
    """
    people = {part: int(audit["patients"][part]) for part in PEOPLE}
    step = step_of(people["training"], others_in(people, labelled=True))  # the coarsest of all attacks
    membership = {
        name: _round_attack(audit["membership"][name], (people["training"], others_in(people, labelled=name in LABELLED)), step)
        for name, *_ in ATTACKS
        if name in audit["membership"]
    }
    limits = {name: audit["limits"][name] for name in LIMITS}
    return {
        "model": audit["model"],
        "set_digest": audit["set_digest"],
        "rounded_to": step,
        "n_synthetic": audit["n_synthetic"],
        "n_audited": audit["n_audited"],
        "n_training_patches": int(coarse(audit["n_training_patches"])),  # depends on the patients' scans
        "patch_size": audit["patch_size"],
        **{key: audit[key] for key in ("promise",) if key in audit},  # depends only on settings and the number of patients
        "patients": people,
        "limits": limits,
        "settings": {name: audit["settings"][name] for name in SETTINGS},
        "membership": membership,
        "findings": [_round_measure(measure, membership, limits, step) for measure in audit["findings"]],
        "controls": {holder: bool(audit["controls"][holder]) for holder in HOLDERS},
        "verdicts": {holder: audit["verdicts"][holder] for holder in HOLDERS},
        "plain_differences": {name: to_step(audit["plain_differences"][name], step) for name in ("mean_intensity", "vessel_fraction")},
        "planted": [_round_planted(planted, step) for planted in audit["planted"]],
        "power": {name: round(audit["power"][name], 2) for name in map("{:g}".format, AUCS)},  # depends only on the numbers of people
        "overfitted": _round_overfitted(audit["overfitted"], step),
        "usefulness": _round_usefulness(audit["usefulness"]),
    }


def others_in(people: Mapping[str, int], *, labelled: bool) -> int:
    """Number of test patients and held-out people: all of them, or only those with a label."""
    return people["test"] + people["held_out_labelled" if labelled else "held_out"]


def step_of(members: int, others: int) -> float:
    """The finest of STEPS that is at least the largest change of an AUC by one person; the coarsest if none is."""
    weight = 1.0 / max(1, min(members, others))
    return next((step for step in STEPS if step >= weight - 1e-12), STEPS[-1])


def to_step(value: float, step: float, end: str = "") -> float:
    """Round to the nearest multiple of a step; the `low` end of an interval down, its `high` end up.

    Two values no more than a step apart stay no more than a step apart.
    """
    steps = round(value / step, 9)  # 0.3 / 0.1 is a little less than 3
    return round((math.ceil(steps) if end == "high" else math.floor(steps + (0.5 if not end else 0.0))) * step, 4)


def _round_interval(figures: Mapping[str, Any], name: str, step: float) -> dict[str, float]:
    """A figure and the ends of its interval."""
    return {f"{name}{end}": to_step(figures[f"{name}{end}"], step, end.removeprefix("_")) for end in ENDS}


def coarse(value: float) -> float:
    """Round to the nearest of ten values per decade, a relative error of at most 12%; 0 stays 0."""
    if value == 0:
        return 0.0
    size = 10.0 ** math.floor(math.log10(abs(value)))
    mantissa = min(TEN_A_DECADE, key=lambda preferred: abs(math.log(abs(value) / size / preferred)))
    return float(f"{math.copysign(mantissa * size, value):.3g}")


def p_bound(value: float) -> float:
    """The smallest of P_BOUNDS that is at least p."""
    return next(bound for bound in P_BOUNDS if value <= bound)


def _round_attack(attack: Mapping[str, Any], people: tuple[int, int], step: float) -> dict[str, Any]:
    """Round an attack. The excess is computed from the rounded AUCs: a separately rounded excess would narrow down the exact AUCs."""
    rounded = {key: value for name in ("auc", "tpr_10", "tpr_1", "control") for key, value in _round_interval(attack, name, step).items()}
    excess = round(rounded["auc"] - rounded["control"], 4)
    ends = _round_interval(attack, "excess", step)
    rounded |= {"excess": excess, "excess_low": min(ends["excess_low"], excess), "excess_high": max(ends["excess_high"], excess)}
    # Numbers of people of the audit instead of the attack, which has fewer if a person has no vessel.
    return rounded | {"p": p_bound(attack["p"]), "least_p": least_p(*people), "members": people[0], "others": people[1]}


def _round_measure(measure: Mapping[str, Any], membership: Mapping[str, Any], limits: Mapping[str, float], step: float) -> dict[str, Any]:
    """Round a measure and its limit. `above` compares the exact value, since a rounded one may lie on the other side of the limit."""
    name = measure["name"]
    kept = {key: measure[key] for key in ("name", "holder", "criterion", "description", "state")}
    kept |= {"above": bool(measure["value"] > measure["limit"]), "corrected_p": p_bound(measure["corrected_p"])}
    if name in membership:
        attack = membership[name]
        figures = {"value": attack["auc"], "low": attack["auc_low"], "high": attack["auc_high"], "control": attack["control"]}
        return kept | figures | {"limit": limits["auc"]}
    if name.startswith("copies"):
        share = {key: _at_most(measure[key], limits["copies"]) for key in ("value", "control")}
        # No interval, since its ends depend on single people's counts.
        return kept | share | {"low": share["value"], "high": share["value"], "limit": limits["copies"]}
    figures = {key: to_step(measure[key], step, key if key in ("low", "high") else "") for key in ("value", "low", "high", "control")}
    limit = round(figures["control"] + limits["linkage"], 4) if name == "linkage" else limits["nearer"]
    return kept | figures | {"limit": limit}


def _at_most(share: float, limit: float) -> float:
    """Round a share of copies up to a multiple of the limit: an exact share could reveal the number of a single person's copies."""
    step = limit or LEAST_COPIES
    return round(max(1, math.ceil(share / step - 1e-9)) * step, 6)


def _round_planted(planted: Mapping[str, Any], step: float) -> dict[str, float]:
    rounded = {"share": planted["share"], "auc": to_step(planted["auc"], step), "p": p_bound(planted["p"])}
    return rounded | {name: coarse(planted[name]) for name in COPIES if name in planted}


def _round_overfitted(overfitted: Mapping[str, Any], step: float) -> dict[str, Any]:
    """Round the figures of the overfitted generator, which was trained on patches of a single person."""
    rounded: dict[str, Any] = {}
    for holder in HOLDERS:
        rounded[holder] = {"auc": to_step(overfitted[holder]["auc"], step), "p": p_bound(overfitted[holder]["p"])}
    linkage = overfitted["linkage"]
    shares = {name: to_step(linkage[name], step) for name in ("share", "share_held_out")}
    return {**rounded, "linkage": {**shares, "first": bool(linkage["first"])}}


def _round_usefulness(usefulness: Mapping[str, Any]) -> dict[str, Any]:
    rounded: dict[str, Any] = {name: coarse(usefulness[name]) for name in ("fd_unet", "fd_unet_floor")}
    for side in ("synthetic", "real"):
        rounded[side] = {name: to_step(usefulness[side][name], LIKENESS_STEP) for name in LIKENESS}
    vessels = usefulness["vessels"]
    return rounded | {"vessels": {side: {name: coarse(vessels[side][name]) for name in VESSELS} for side in ("synthetic", "real")}}
