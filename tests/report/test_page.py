"""The page stands alone and says what the numbers say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from angiosynth.report.audit_summary import VERDICTS
from angiosynth.report.page import PageContext, build_page
from tests.audits import audit_tree
from tests.report.pages import AT_B, NAMES, TRANSFER, Page, gap, row


def test_page_stands_alone(evaluation: dict[str, Any], figures: dict[str, Path]) -> None:
    text = build_page(
        PageContext(evaluation, TRANSFER, figures, {"unet": {"width": 16}}, {"dcgan": {"n": 4000, "intensity": {}}}, ["A note."])
    )
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?://|//[a-z]|url\(|@import|<script|<link|<iframe", text)
    assert all((image["src"] or "").startswith("data:image/png;base64,") and image["alt"] for image in page.all("img"))
    assert len(page.all("img")) == 6
    assert page.all("html") == [{"lang": "en-GB"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("table")) == len(page.all("caption")) == 5
    assert "$" not in page.text
    for said in (
        "A note.",
        "4000",
        '"width": 16',
        "Nothing here proves",
        "close to a maximum",
        "26.57",
        "MONAI",
        "1 patient",
        "own figure",
        "trained once, from one seed",
    ):
        assert said in page.text, said


def test_page_without_extras_has_no_empty_sections(evaluation: dict[str, Any]) -> None:
    page = Page(build_page(PageContext(evaluation, {}, {})))
    assert page.open == []
    assert page.all("img") == []
    for absent in ("One patient", "How the generators trained", "Settings", "About these data", "The synthetic sets", "More figures"):
        assert absent not in page.text
    assert "no other site" in page.text


def test_each_site_has_a_table_and_each_generator_a_row(evaluation: dict[str, Any]) -> None:
    """However many there are, and whatever they are called."""
    evaluation |= {"my-gan": row(0.71), "generators": [*NAMES[1:4], "my-gan"]}
    for key, value in (("ratio_to_real", 0.9), ("difference_to_real", gap(-0.1, 0.2)), ("gain_over_threshold", gap(0.06, 0.01))):
        evaluation[key]["my-gan"] = value
    page = Page(build_page(PageContext(evaluation, {"site-b": AT_B, "site-c": AT_B, "site-d": {}}, {})))
    assert "my-gan patches" in page.text
    assert "Trained on my-gan patches, the U-net beats the best global threshold" in page.text
    shown = [f"Test patients of {site}" in page.text for site in ("site-b", "site-c", "site-d")]
    assert shown == [True, True, False]
    assert page.text.count("pre-trained on DCGAN") == 2


def test_of_one_test_patient_no_interval_is_spoken_of(evaluation: dict[str, Any]) -> None:
    assert "otherwise the two tie" in " ".join(Page(build_page(PageContext(evaluation, {}, {}))).text.split())
    evaluation["real"]["n_patients"] = 1
    one = {start: {count: {**point, "n_patients": 1} for count, point in counts.items()} for start, counts in AT_B.items()}
    text = " ".join(Page(build_page(PageContext(evaluation, {"site-b": one}, {}))).text.split())
    assert "With one test patient there is no interval, and so nothing here is a win or a loss." in text
    assert "Test patients of site-b, one, so no interval." in text
    assert "in brackets the 95% bootstrap interval" not in text


def test_contents_lead_to_every_section(evaluation: dict[str, Any], figures: dict[str, Path]) -> None:
    """By the keyboard too: wide tables can be reached and scrolled."""
    study: dict[str, Any] = {"study": "mine", "model": "dcgan", "trials": [], "front": [], "knee": None}
    settings, cards = {"steps": "40"}, {"dcgan": {"n": 4000}}
    figures["leakage"] = figures["pairs"]
    audits = {"wgan-gp": audit_tree()}
    for page in (
        Page(build_page(PageContext(evaluation, TRANSFER, figures, settings, cards, ["A note."], [study], audits=audits))),
        Page(build_page(PageContext(evaluation, {}, {}))),
    ):
        sections = [section["id"] for section in page.all("section")]
        assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in sections]
        frames = [frame for frame in page.all("div") if frame.get("class") == "wide"]
        assert [frame["tabindex"] for frame in frames] == ["0"] * len(page.all("table"))
    assert sections == ["short", "results", "transfer"]


def test_an_audit_of_the_report_says_what_its_verdict_means(evaluation: dict[str, Any], figures: dict[str, Path]) -> None:
    context = PageContext(evaluation, TRANSFER, {"leakage": figures["pairs"]}, audits={"wgan-gp": audit_tree()})
    page = Page(build_page(context))
    assert page.open == []
    assert VERDICTS["within"] in page.text
    assert "Use against leakage" in page.text
    assert len(page.all("img")) == 1


def test_foreign_text_is_escaped(evaluation: dict[str, Any]) -> None:
    text = build_page(PageContext(evaluation, {}, {}, {"site": "<script>"}, {"<b>": {"n": "<i>"}}, ["a < b & c"]))
    assert "<script" not in text
    assert "<b>" not in text
    assert "a &lt; b &amp; c" in text


def test_worth_has_a_section_where_it_was_measured(evaluation: dict[str, Any], figures: dict[str, Path]) -> None:
    sets = {name: {"patients": 2.5, "patients_low": 1.0, "patients_high": 8.0} for name in evaluation["generators"]}
    joint = {"1": {"dsc": 0.75, "dsc_gain": 0.25, "dsc_gain_low": 0.1, "dsc_gain_high": 0.4, "n_patients": 4}}
    worth = {"curve": {"1": {"dsc": 0.5}, "8": {"dsc": 0.8}}, "sets": sets, "together": {"wgan-gp": joint}}
    with_it = build_page(PageContext(evaluation, {}, {"worth": figures["scores"]}, worth=worth))
    assert "WGAN-GP: as good as the patches of 2.5 patients (95% interval: at most 1 to at least 8)." in Page(with_it).text
    gain = "WGAN-GP together with the real patches of 1 patient: DSC 0.750, +0.250 (+0.100 to +0.400) against these patches alone."
    assert gain in Page(with_it).text
    assert 'id="worth"' in with_it
    assert 'id="worth"' not in build_page(PageContext(evaluation, {}, {}))
