"""The README's block of results is replaced, and nothing around it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from angiosynth.errors import InputError
from angiosynth.report.page import PageContext, build_page
from angiosynth.report.readme import markdown_table, update_readme, update_results
from angiosynth.report.verdicts import transfer_claims, verdicts
from tests.report.pages import NAMES, PIXEL, TRANSFER, Page

WORTH = {
    "curve": {"1": {"dsc": 0.5}, "8": {"dsc": 0.8}},
    "sets": {name: {"patients": 2.5, "patients_low": 1.0, "patients_high": 8.0} for name in NAMES[1:4]},
}


def test_markdown_table(evaluation: dict[str, Any]) -> None:
    lines = markdown_table(evaluation).splitlines()
    assert len(lines) == 2 + 5
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == (
        "| real patches | 0.800 (0.750 to 0.850) | 100.0% | - | +0.150 (+0.050 to +0.250) | 2.50 (2.00 to 3.00) | 21.2 | 0.50 | 0 of 4 |"
    )
    assert "WGAN-GP patches (chosen by validation)" in lines[4]
    assert "| 97.5% | -0.020 (-0.050 to +0.010) |" in lines[4]
    assert "best global threshold" in lines[6]


def test_several_seeds_are_reported_everywhere(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    for name in NAMES[:-1]:
        evaluation[name] |= {"n_seeds": 3, "n_empty": 1, "dsc_seed_sd": 0.0123}
    evaluation["difference_to_real"]["dcgan"] |= {"dsc_seed_sd": 0.045}
    head, _, real, *_, threshold = markdown_table(evaluation).splitlines()
    assert "| SD over seeds |" in head
    assert "| 0.012 |" in real
    assert real.endswith("| 1 of 12 |")
    assert threshold.count("| - |") == 2  # no seeds, and no difference to real is told
    assert threshold.endswith("| 0 of 4 |")
    assert "SD over seeds 0.045" in verdicts(evaluation)[1]
    said = Page(build_page(PageContext(evaluation, TRANSFER, {}))).text
    assert "4 test patients and 3 seeds of the U-net" in said
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:start -->\n<!-- results:end -->\n")
    update_readme(readme, evaluation, TRANSFER, figures, WORTH)
    assert "The SD is that of the seeds' means." in readme.read_text()


def test_worth_is_reported_where_it_was_measured(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:start -->\n<!-- results:end -->\n")
    update_readme(readme, evaluation, TRANSFER, figures, WORTH)
    text = readme.read_text()
    assert "DSC on real patches by the number of training patients: 0.500 with 1, 0.800 with 8." in text
    assert "- WGAN-GP: as good as the patches of 2.5 patients (95% interval: at most 1 to at least 8)." in text
    update_readme(readme, evaluation, TRANSFER, figures, {})
    assert "by the number of training patients" not in readme.read_text()


def test_readme_keeps_all_but_the_block(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    readme = tmp_path / "repo" / "README.md"
    readme.parent.mkdir()
    evaluation["chosen_by_validation"] = "dcgan"  # the one with a gain
    readme.write_text("# Title\n\n<!-- results:start -->\nstale words\n<!-- results:end -->\n\nafter\n")
    update_readme(readme, evaluation, TRANSFER, figures, WORTH)
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- results:start -->\n")
    assert text.endswith("\n<!-- results:end -->\n\nafter\n")
    assert "stale words" not in text
    assert markdown_table(evaluation) in text
    assert [(readme.parent / "docs" / f"{name}.png").read_bytes() for name in ("pairs", "transfer")] == [PIXEL] * 2
    (claim,) = transfer_claims(TRANSFER, "dcgan")
    assert f"- {claim}\n" in text
    before = readme.stat().st_mtime_ns
    update_readme(readme, evaluation, TRANSFER, figures, WORTH)
    assert readme.read_text() == text
    assert readme.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", [None, "# no markers", "<!-- results:end --> <!-- results:start -->"])
def test_readme_without_markers_is_left_alone(
    text: str | None, evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    if text is not None:
        readme.write_text(text)
    with pytest.raises(InputError, match="results:start"):
        update_readme(readme, evaluation, TRANSFER, figures, WORTH)
    assert not (tmp_path / "docs").exists()


def test_a_missing_figure_is_named(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    figures["transfer"].unlink()
    with pytest.raises(InputError, match=r"transfer\.png"):
        build_page(PageContext(evaluation, TRANSFER, figures))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:start --><!-- results:end -->")
    with pytest.raises(InputError, match=r"transfer\.png"):
        update_readme(readme, evaluation, TRANSFER, {"pairs": figures["pairs"]}, WORTH)
    assert "DSC" not in readme.read_text()


def test_the_page_of_results_has_both_tables_between_its_markers(evaluation: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    evaluation["chosen_by_validation"] = "dcgan"  # the one with a gain
    page.write_text("# Results\n\n<!-- results:start -->\nstale\n<!-- results:end -->\n\nafter\n")
    update_results(page, evaluation, TRANSFER, WORTH)
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- results:start -->\n\n| U-net trained on |")
    assert text.endswith("\n\n<!-- results:end -->\n\nafter\n")
    assert markdown_table(evaluation) in text
    for site in TRANSFER:
        assert f"Test patients of {site}, " in text
    assert "stale" not in text
    assert re.findall(r"\]\((.+?)\)", text) == ["transfer.png"]
    (claim,) = transfer_claims(TRANSFER, "dcgan")
    assert f"- {claim}\n" in text
    update_results(page, evaluation, TRANSFER, WORTH)
    assert page.read_text() == text
    page.write_text("no markers")
    with pytest.raises(InputError, match="are missing"):
        update_results(page, evaluation, TRANSFER, WORTH)
