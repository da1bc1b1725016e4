"""Sentences about the numbers: a tie is called a tie and a loss a loss."""

from __future__ import annotations

import re
from typing import Any

import pytest

from angiosynth.report.tables import means_sentence, results_table
from angiosynth.report.verdicts import transfer_verdicts, verdicts
from tests.report.pages import AT_B, COUNTS, LOOK, TRANSFER, gain, gap


def test_verdicts_call_a_tie_a_tie_and_a_loss_a_loss(evaluation: dict[str, Any]) -> None:
    lines = verdicts(evaluation)
    assert "WGAN-GP: DSC 0.780" in lines[0]
    assert "DCGAN patches, the U-net loses to the one trained on real" in lines[1]
    assert "(75.0% of its DSC)" in lines[1]
    assert "WGAN-GP patches, the U-net ties" in lines[2]
    assert "WGAN-GP-SN patches, the U-net beats" in lines[3]
    assert [re.findall("beats|ties|loses", line) for line in lines[4:]] == [["beats"], ["loses"], ["beats"], ["ties"]]
    evaluation["dcgan"]["n_empty"] = 2
    evaluation["ratio_to_real"]["dcgan"] = None
    assert "DCGAN: 2" in verdicts(evaluation)[-1]
    assert "of its DSC" not in verdicts(evaluation)[1]


def test_of_one_test_patient_there_is_no_interval_and_no_verdict(evaluation: dict[str, Any]) -> None:
    evaluation["real"]["n_patients"] = 1
    lines = verdicts(evaluation)
    assert not re.findall("beats|ties|loses|interval [+-]", " ".join(lines))
    assert "DSC below the one trained on real patches (one test patient: no interval, so neither a win nor a loss)" in lines[1]
    rows = results_table(evaluation).rows
    assert not [cell for row in rows for cell in row if " to " in cell]
    assert "there is no interval over patients" in means_sentence(evaluation)
    one = {"scratch": AT_B["scratch"], "dcgan": {"1": {**gap(0.5, 0.1), **COUNTS, **gain(0.15, 0.0), "n_patients": 1}}}
    assert transfer_verdicts({"site-b": one}, "dcgan", LOOK)[-1].endswith(
        "it is +0.150 over 3 subsets and 1 test patient: of one patient there is no interval, so it says nothing of the claim."
    )


def test_transfer_verdicts() -> None:
    lines = transfer_verdicts(TRANSFER, "wgan-gp", LOOK)
    assert lines == [
        "With 1 patient of site-b: DSC 0.500 without pre-training; pre-training changed it by DCGAN -0.050 (-0.090 to -0.010).",
        "With 12 patients of site-b: DSC 0.700 without pre-training; pre-training changed it by nothing: there was none.",
    ]
    assert transfer_verdicts({}, "wgan-gp", LOOK) == ["There is no other site, so nothing was transferred."]
    two = transfer_verdicts({"site-b": AT_B, "site-c": {"scratch": AT_B["scratch"]}}, "wgan-gp", LOOK)
    assert two[:2] == lines
    assert [line.split(":")[0] for line in two[2:]] == ["With 1 patient of site-c", "With 12 patients of site-c"]


@pytest.mark.parametrize(
    ("mean", "half", "answer"),
    [
        (0.15, 0.02, "a gain, and a greater one"),
        (0.08, 0.02, "a gain, and the interval holds the paper's"),
        (0.04, 0.01, "a gain, but a smaller one"),
        (0.05, 0.06, "a tie, whose interval holds zero and the paper's gain"),
        (0.01, 0.03, "a tie, whose interval holds zero and not the paper's gain"),
        (-0.05, 0.02, "a loss, against the paper's claim"),
    ],
)
def test_the_papers_claim_is_answered_with_an_interval(mean: float, half: float, answer: str) -> None:
    transfer = {"scratch": AT_B["scratch"], "dcgan": {"1": gap(0.5, 0.1) | COUNTS | gain(mean, half)}}
    *_, line = transfer_verdicts({"site-b": transfer}, "dcgan", LOOK)
    assert line == (
        "The paper's gain with one patient is +0.07, on other scans. At site-b, with the DCGAN patches that validation chose, it is "
        f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f}) over 3 subsets and 5 test patients: {answer}."
    )
