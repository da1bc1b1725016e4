"""The page stands alone and says what the numbers say; the README's block is replaced and nothing around it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from angiosynth.errors import InputError
from angiosynth.report.page import PageContext, build_page, markdown_table, update_readme
from angiosynth.report.style import Look
from angiosynth.report.verdicts import transfer_verdicts, verdicts

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
NAMES = ("real", "dcgan", "wgan-gp", "wgan-gp-sn", "threshold")
LOOK = Look(NAMES[1:4])


def gap(mean: float, half: float) -> dict[str, float]:
    return {"dsc": mean, "dsc_low": mean - half, "dsc_high": mean + half}


def row(dsc: float) -> dict[str, float]:
    distances = {"hd95_mm": 2.5, "hd95_mm_low": 2.0, "hd95_mm_high": 3.0, "hd_mm": 21.25, "assd_mm": 0.5}
    return {
        **gap(dsc, 0.05),
        **distances,
        "precision": 0.9,
        "recall": 0.8,
        "n_patients": 4,
        "n_seeds": 1,
        "n_empty": 0,
        "val_dsc": dsc,
        "val_hd95_mm": 3.0,
    }


@pytest.fixture
def evaluation() -> dict[str, Any]:
    levels = dict(zip(NAMES, (0.8, 0.6, 0.78, 0.7, 0.65), strict=True))
    return {
        **{name: row(level) for name, level in levels.items()},
        "generators": list(NAMES[1:4]),
        "chosen_by_validation": "wgan-gp",
        "ratio_to_real": {name: levels[name] / 0.8 for name in NAMES[1:4]},
        "difference_to_real": {"dcgan": gap(-0.2, 0.1), "wgan-gp": gap(-0.02, 0.03), "wgan-gp-sn": gap(0.05, 0.01)},
        "gain_over_threshold": {
            "real": gap(0.15, 0.1),
            "dcgan": gap(-0.05, 0.01),
            "wgan-gp": gap(0.13, 0.1),
            "wgan-gp-sn": gap(0.05, 0.06),
        },
    }


COUNTS = {"n_patients": 5, "n_subsets": 3}


def gain(mean: float, half: float) -> dict[str, float]:
    return {"dsc_gain": mean, "dsc_gain_low": mean - half, "dsc_gain_high": mean + half}


AT_B = {
    "scratch": {"1": gap(0.5, 0.1) | COUNTS | {"hd95_mm": 4.0}, "12": gap(0.7, 0.1) | COUNTS | {"hd95_mm": 3.0}},
    "dcgan": {"1": gap(0.45, 0.1) | gain(-0.05, 0.04) | COUNTS | {"hd95_mm": 5.0}},
}
TRANSFER = {"site-b": AT_B}


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.png" for name in ("pairs", "scores", "patient", "transfer", "curves", "own-figure")}
    for path in paths.values():
        path.write_bytes(PIXEL)
    return paths


class Page(HTMLParser):
    """Notes tags, attributes and text, and that every tag is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


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
    assert len(page.all("table")) == len(page.all("caption")) == 4
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


def test_foreign_text_is_escaped(evaluation: dict[str, Any]) -> None:
    text = build_page(PageContext(evaluation, {}, {}, {"site": "<script>"}, {"<b>": {"n": "<i>"}}, ["a < b & c"]))
    assert "<script" not in text
    assert "<b>" not in text
    assert "a &lt; b &amp; c" in text


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


def test_several_seeds_are_told_everywhere(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
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
    update_readme(readme, evaluation, TRANSFER, figures)
    assert "The SD is that of the seeds' means." in readme.read_text()


def test_readme_keeps_all_but_the_block(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    readme = tmp_path / "repo" / "README.md"
    readme.parent.mkdir()
    readme.write_text("# Title\n\n<!-- results:start -->\nstale words\n<!-- results:end -->\n\nafter\n")
    update_readme(readme, evaluation, TRANSFER, figures)
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- results:start -->\n")
    assert text.endswith("\n<!-- results:end -->\n\nafter\n")
    assert "stale words" not in text
    assert markdown_table(evaluation) in text
    for link in re.findall(r"\]\((.+?)\)", text):
        assert (readme.parent / link).read_bytes() == PIXEL
    assert re.findall(r"\]\((.+?)\)", text) == ["docs/pairs.png", "docs/transfer.png"]
    before = readme.stat().st_mtime_ns
    update_readme(readme, evaluation, TRANSFER, figures)
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
        update_readme(readme, evaluation, TRANSFER, figures)
    assert not (tmp_path / "docs").exists()


def test_a_missing_figure_is_named(evaluation: dict[str, Any], figures: dict[str, Path], tmp_path: Path) -> None:
    figures["transfer"].unlink()
    with pytest.raises(InputError, match=r"transfer\.png"):
        build_page(PageContext(evaluation, TRANSFER, figures))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:start --><!-- results:end -->")
    with pytest.raises(InputError, match=r"transfer\.png"):
        update_readme(readme, evaluation, TRANSFER, {"pairs": figures["pairs"]})
    assert "DSC" not in readme.read_text()
