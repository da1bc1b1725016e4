"""What the numbers amount to: each verdict where it belongs, and the planted leaks' say in it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from angiosynth.privacy.copies import LEARNED, SPACES
from angiosynth.privacy.verdict import ATTACKS, DRAWN, holm, judge
from angiosynth.settings.audit import AuditLimits

LIMITS = AuditLimits()


def planted(share: float, **changes: float) -> dict[str, float]:
    """Planted copies that were detected, but for some changes."""
    return {"share": share, **dict.fromkeys(SPACES, share), "auc": 1.0, "p": 0.001, **changes}


def numbers() -> dict[str, Any]:
    """An audit that found nothing, with controls that were found."""
    plain = {"auc": 0.6, "auc_low": 0.4, "auc_high": 0.8, "control": 0.55, "excess": 0.05, "excess_low": -0.1, "excess_high": 0.2}
    nearer = {"nearer": 0.52, "nearer_low": 0.4, "nearer_high": 0.6, "nearer_p": 0.4, "nearer_validation": 0.5}
    copies = {"copies": 0.0, "copies_low": 0.0, "copies_high": 0.0, "copies_held_out": 0.0, "p": 1.0}
    detected = {"auc": 0.95, "p": 0.001}
    return {
        "membership": {name: {**plain, "p": 0.3, "least_p": 0.002} for name, *_ in ATTACKS},
        "linkage": {"agreement": 0.3, "held_out": 0.28, "excess": 0.02, "excess_low": -0.01, "excess_high": 0.05, "p": 0.3},
        **{space: dict(copies) for space in SPACES},
        "nearer": {"images": dict(nearer), "features": dict(nearer)},
        "planted": [planted(share) for share in (0.01, 0.1)],
        "overfitted": {
            **{name: dict(detected) for name in ("set", "generator", "critic")},
            "linkage": {"share": 0.8, "share_held_out": 0.1, "first": True},
        },
    }


def _verdicts(**changes: Any) -> dict[str, str]:
    """Changes by path with two underscores."""
    tree = copy.deepcopy(numbers())
    for name, value in changes.items():
        *path, last = name.split("__")
        node = tree
        for key in path:
            node = node[key]
        node[last] = value
    verdicts: dict[str, str] = judge(tree, LIMITS)["verdicts"]
    return verdicts


LEAK = {"auc": 0.9, "auc_low": 0.8, "auc_high": 1.0, "control": 0.5, "excess": 0.4, "excess_low": 0.2, "excess_high": 0.6}


def test_nothing_found_and_controls_found() -> None:
    assert _verdicts() == {"set": "within", "generator": "within", "critic": "within"}


def test_a_leak_of_the_generator_is_not_one_of_the_set() -> None:
    leak = {**LEAK, "p": 0.002, "least_p": 0.002}
    assert _verdicts(membership__generator=leak) == {"set": "within", "generator": "over", "critic": "over"}
    assert _verdicts(membership__critic=leak) == {"set": "within", "generator": "within", "critic": "over"}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"p": 0.002}, "over"),
        ({"p": 0.01}, "unclear"),  # chance may explain it, since it had a try at each measure
        ({"p": 0.002, "excess": 0.2, "excess_low": -0.1}, "unclear"),  # the control may
        ({"p": 0.002, "excess": 0.05}, "within"),  # the control does
        ({"p": 0.002, "auc": 0.69}, "within"),
    ],
)
def test_an_attack_is_over_beyond_chance_and_control(change: dict[str, float], verdict: str) -> None:
    assert _verdicts(membership__images={**LEAK, "least_p": 0.002, **change})["set"] == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"copies__copies": 0.01, "copies__p": 0.001}, "over"),
        ({"copies_features__copies": 0.01, "copies_features__p": 0.001}, "over"),
        ({"copies_features__copies": 19 / 8000, "copies_features__p": 0.02}, "unclear"),  # a few tissue patches that chance made alike
        ({"copies__copies": 0.01, "copies__p": 0.001, "copies__copies_held_out": 0.02}, "within"),
        ({"copies__copies": 0.0005, "copies__p": 0.001}, "within"),
        ({"linkage__excess": 0.2, "linkage__p": 0.001}, "over"),
        ({"linkage__excess": 0.2, "linkage__p": 0.1}, "unclear"),
        ({"nearer__features__nearer": 0.8, "nearer__features__nearer_p": 0.001}, "over"),
        ({"nearer__images__nearer": 0.8}, "unclear"),
        ({"nearer__images__nearer": 0.8, "nearer__images__nearer_validation": 0.75}, "within"),
    ],
)
def test_every_other_measure_can_fail(changes: dict[str, float], verdict: str) -> None:
    assert _verdicts(**changes)["set"] == verdict


def test_a_detector_is_one_more_measure_and_one_more_search_for_planted_copies() -> None:
    tree = numbers()
    measures = len(judge(tree, LIMITS)["findings"])
    copies = {**tree["copies"], "copies": 0.01, "p": 0.001}
    judged = judge({**tree, LEARNED: copies}, LIMITS)
    assert len(judged["findings"]) == measures + 1
    assert judged["verdicts"]["set"] == "over"
    assert judge({**tree, LEARNED: tree["copies"]}, LIMITS)["verdicts"]["set"] == "within"
    blind = {**tree, LEARNED: tree["copies"], "planted": [planted(0.01, **{LEARNED: 0.0})]}
    assert judge(blind, LIMITS)["verdicts"]["set"] == "inconclusive"


def test_copies_in_label_maps_that_the_generator_draws_are_its_holders_and_audit_nobody_alone() -> None:
    tree = numbers()
    drawn = {**tree["copies"], "copies": 0.01, "p": 0.0001}
    found = {**tree, **dict.fromkeys(DRAWN.values(), drawn)}
    assert judge(found, LIMITS)["verdicts"] == {"set": "within", "generator": "over", "critic": "over"}
    harmless = {**tree, **{name: tree["copies"] for name in DRAWN.values()}}
    assert judge(harmless, LIMITS)["verdicts"] == {"set": "within", "generator": "within", "critic": "within"}
    # A kind without reconstruction attack stays unaudited, whatever its label maps.
    found["membership"] = {name: attack for name, attack in tree["membership"].items() if name != "generator"}
    assert judge(found, LIMITS)["verdicts"] == {"set": "within", "generator": "not audited", "critic": "over"}


@pytest.mark.parametrize(
    ("changes", "blind"),
    [
        ({"planted": [planted(0.01, copies=0.0)]}, "set"),
        ({"planted": [planted(0.01, copies_features=0.0)]}, "set"),
        ({"planted": [planted(0.01, p=0.2)]}, "set"),
        ({"overfitted__set__auc": 0.6}, "set"),
        ({"overfitted__linkage__first": False}, "set"),
        ({"overfitted__generator__p": 0.2}, "generator"),
        ({"overfitted__critic__auc": 0.5}, "critic"),
    ],
)
def test_a_leak_that_was_planted_and_not_found_makes_the_audit_inconclusive(changes: dict[str, Any], blind: str) -> None:
    holders = ("set", "generator", "critic")
    wanted = {holder: "inconclusive" if holders.index(holder) >= holders.index(blind) else "within" for holder in holders}
    assert _verdicts(**changes) == wanted


def test_what_was_found_stays_found_where_controls_fail() -> None:
    assert _verdicts(overfitted__set__auc=0.5, copies__copies=0.01, copies__p=0.001)["set"] == "over"


def test_too_few_patients_can_not_pass() -> None:
    assert _verdicts(membership__images__least_p=0.2)["set"] == "too few patients"
    assert _verdicts(membership__images__least_p=0.02)["set"] == "too few patients"  # no attack could pass the correction


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_of_many_measures_that_chance_alone_makes_few_sets_are_called_over() -> None:
    """With uniform p for all measures, all of which pass their limits, at most alpha of audits see any below the corrected level."""
    draws = np.random.default_rng(1).random((2000, 11))
    share = np.mean([min(holm(one.tolist())) <= 0.05 for one in draws])
    assert 0.03 < share < 0.06
