"""The officer's page: what it says follows from the numbers, and it never says that a set is anonymous."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from angiosynth.privacy.copies import LEARNED
from angiosynth.privacy.shared import shared_audit
from angiosynth.privacy.verdict import judge
from angiosynth.report.audit_figures import leakage_figure, patient_scores_figure
from angiosynth.report.audit_page import audit_overview, build_audit_page
from angiosynth.report.audit_summary import SENTENCES, STEPS, VERDICTS, audit_summary
from angiosynth.report.style import Look
from tests.audits import LIMITS, audit_tree
from tests.privacy.test_verdict import LEAK
from tests.report.pages import cells_of


def _keys(tree: Any) -> Iterator[str]:
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from (name,) if isinstance(name, str) else ()
        yield from _keys(value)


def _lists(tree: Any) -> Iterator[list[Any]]:
    if isinstance(tree, list):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _lists(value)


def test_nothing_found_is_said_with_what_it_does_not_mean() -> None:
    page = build_audit_page(audit_tree(), b"png")
    assert VERDICTS["within"] in page
    assert "OVER its limit" not in page
    assert "anonymous: yes" not in page.lower()
    for word in (
        "Singling out",
        "Linkability",
        "Inference",
        "gallery.png",
        "false alarms come in steps of 100%",
        "Digest of the audited set",
    ):
        assert word in page
    assert "://" not in page


def test_a_set_that_was_sampled_is_said_to_be_on_either_page() -> None:
    for audit in (audit_tree(), audit_tree() | {"n_audited": 60}):
        for page in (build_audit_page(audit, b"png"), build_audit_page(shared_audit(audit), b"png")):
            assert ("critic. <strong>60 of them,\nevenly spaced, were audited" in page) is (audit["n_audited"] == 60)


def test_every_figure_on_the_page_is_the_audits() -> None:
    audit = audit_tree()
    for place, finding in enumerate(audit["findings"]):
        finding |= {"value": 0.1234 + place / 1000, "low": 0.1, "high": 0.9, "control": 0.4321 + place / 1000}
    page = build_audit_page(audit, b"png")
    for finding in audit["findings"]:
        digits = 4 if finding["name"].startswith("copies") else 2
        interval = f"({0.1:.{digits}f} to {0.9:.{digits}f})"
        row = f"{escape(finding['description'])}|{finding['value']:.{digits}f} {interval}|{finding['control']:.{digits}f}|"
        assert any(line.startswith(row) for line in cells_of(page))


def test_the_worst_placed_patient_stands_in_the_house_alone() -> None:
    audit = audit_tree()
    audit["copies"] |= {"member_counts": [0, 37], "other_counts": [0, 0, 2], "p_worst": 0.0123}
    audit["membership"]["images"] |= {"member_excess": [0.1, 8.25], "other_excess": [-0.5, 1.5], "worst_excess": 8.25, "worst_p": 0.0009}
    page = build_audit_page(audit, b"png")
    descriptions = {finding["name"]: finding["description"] for finding in audit["findings"]}
    assert f"{descriptions['copies']}|37|2|0.012" in cells_of(page)
    assert f"{descriptions['images']}|+8.2|+1.5|0.001" in cells_of(page)
    assert "the worst-placed one stands out (membership by the nearest synthetic image: +8.2 standard deviations" in page
    assert "p 0.008, corrected" in page  # 0.0009 times nine measures of whoever holds the set
    page = build_audit_page(shared_audit(audit), b"png")
    assert "worst-placed" not in page
    assert "37" not in page
    assert "8.2" not in page


def test_a_learnt_detector_stands_on_the_page_and_leaves_rounded(tmp_path: Path) -> None:
    audit = audit_tree()
    audit[LEARNED] = {**audit["copies"], "copies": 0.0123, "p": 0.0001, "member_counts": [0, 7], "p_worst": 0.0001}
    audit["planted"] = [{**planted, LEARNED: 0.0456} for planted in audit["planted"]]
    audit |= judge(audit, LIMITS)
    page = build_audit_page(audit, b"png")
    assert "4.56% in a learnt embedding" in page
    assert "arXiv 2512.14421" in page
    assert "7 synthetic patches count as copies of one, in a learnt embedding" in page
    shared = shared_audit(audit)
    (finding,) = (one for one in shared["findings"] if one["name"] == LEARNED)
    assert (finding["state"], finding["value"]) == ("over", 0.013)  # up to a multiple of the limit
    assert shared["planted"][0][LEARNED] == 0.05
    patient_scores_figure(audit, tmp_path / "scores.png")


def test_what_leaves_holds_no_figure_of_a_person() -> None:
    """No score, excess or count of a person, no list of numbers but a setting, under whatever name."""
    audit = audit_tree()
    shared = shared_audit(audit)
    personal = ("scores", "excess", "counts", "worst", "p_worst", "p_spread", "least_ratio")
    kept = [name for name in _keys(shared) if any(word in name for word in personal)]
    assert set(kept) == {"excess", "excess_low", "excess_high"}  # the AUC's above its control's, and a limit
    assert [name for name, value in shared.items() if isinstance(value, list)] == ["findings", "planted"]  # of measures and of leaks
    assert not [value for value in _lists(shared) if not isinstance(value[0], dict) and value != shared["settings"]["planted"]]
    assert {"member_excess", "worst_p", "member_counts", "p_worst"} <= set(_keys(audit))


@pytest.mark.parametrize("verdict", list(SENTENCES))
def test_a_verdict_comes_first_with_what_to_do_next(verdict: str) -> None:
    audit = audit_tree()
    audit["verdicts"]["set"] = verdict
    page = build_audit_page(audit, b"png")
    summary = audit_summary(audit)
    places = [page.index(str(escape(text))) for text in (summary.sentence, summary.worst, *summary.steps)]
    assert [*places, page.index("Attackers</h2>")] == sorted([*places, page.index("Attackers</h2>")])
    assert summary.steps[-1].startswith("At least" if verdict == "too few patients" else STEPS[verdict][-1])
    assert page.index(str(escape(summary.sentence))) < page.index("<table")


def test_the_first_sentence_names_what_is_over_its_limit() -> None:
    leak = build_audit_page(audit_tree(images={**LEAK, "p": 0.001}), b"png")
    assert f"{SENTENCES['over']} Over the limit: membership by the nearest synthetic image.</p>" in leak.replace("\n", " ")
    assert "Over the limit:" not in build_audit_page(audit_tree(), b"png")


def test_who_stands_out_is_looked_at_even_where_the_set_may_leave() -> None:
    audit = audit_tree()
    audit["membership"]["images"]["worst_p"] = 0.001
    assert audit_summary(audit_tree()).steps == STEPS["within"]
    assert "stands out" in audit_summary(audit).steps[0]


def test_the_power_and_the_people_that_are_missing_are_reported() -> None:
    """2 members and 1 other: with 13 measures or more it takes C(2 + n, 2) >= 20 K people."""
    audit = audit_tree()
    needed = next(n for n in range(1, 99) if (n + 2) * (n + 1) / 2 >= 20 * len(audit["findings"]))
    page = build_audit_page(audit, b"png")
    assert f"At least {needed - 1} more people who were not trained on would do" in page
    assert "AUC\n0.7 would be significant with probability 0.00, one of AUC 0.8" in page


def test_the_page_is_the_same_from_the_file() -> None:
    audit = audit_tree()
    assert build_audit_page(json.loads(json.dumps(audit, sort_keys=True)), b"png") == build_audit_page(audit, b"png")


def test_a_leak_is_called_one_where_it_is() -> None:
    page = build_audit_page(audit_tree(images={**LEAK, "p": 0.001}), b"png")
    assert page.count(VERDICTS["over"]) == 3  # whoever holds more holds the set too
    assert page.count("OVER its limit") == 2  # among the attacks and among the evidence


def test_what_the_control_explains_is_not_called_within() -> None:
    page = build_audit_page(audit_tree(images={**LEAK, "p": 0.001, "excess": 0.05, "control": 0.85}), b"png")
    assert "over its limit as its control is" in page
    assert VERDICTS["within"] in page


def test_the_reports_table_has_a_row_for_each_set_and_says_what_its_verdict_means() -> None:
    overview = audit_overview({"wgan-gp": audit_tree(), "dcgan": audit_tree(images={**LEAK, "p": 0.001})}, Look(("dcgan", "wgan-gp")))
    assert [row[:2] for row in overview.table.rows] == [["DCGAN", "over"], ["WGAN-GP", "within"]]
    assert overview.verdicts == [f"{verdict}: {VERDICTS[verdict]}" for verdict in ("over", "within")]


@pytest.mark.parametrize("ratio", [0.9, None])
def test_figures_are_drawn(tmp_path: Path, ratio: float | None) -> None:
    patient_scores_figure(audit_tree(), tmp_path / "scores.png")
    leakage_figure({"generators": ["wgan-gp"], "ratio_to_real": {"wgan-gp": ratio}}, {"wgan-gp": audit_tree()}, tmp_path / "leakage.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("scores.png", "leakage.png"))
