"""Update the results in README.md and docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.reading import MOST_PICTURE, read_bytes, read_text
from angiosynth.report.rendering import Table, read_figure
from angiosynth.report.style import Look, name_of
from angiosynth.report.tables import means_sentence, results_table, transfer_tables
from angiosynth.report.verdicts import transfer_claims, worth_verdicts
from angiosynth.runtime.output import whole_file

START, END = "<!-- results:start -->", "<!-- results:end -->"
FIGURES = ("pairs", "transfer")
TRANSFER_FIGURE = "![DSC at another site against its number of training patients](transfer.png)"


def markdown_table(evaluation: Mapping[str, Any]) -> str:
    """Results as a Markdown table, one row per training set, the threshold baseline last, without a final line break."""
    return _markdown(results_table(evaluation))


def _markdown(table: Table) -> str:
    alignment = ["---"] + ["---:"] * (len(table.head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (table.head, alignment, *table.rows))


def update_readme(
    readme: Path, evaluation: Mapping[str, Any], transfer: Mapping[str, Any], figures: Mapping[str, Path], worth: Mapping[str, Any]
) -> None:
    """Write the current table and claims between the markers of the README, and the two figures into docs/.

    Args:
        readme: file with a line `<!-- results:start -->` and, below it, a line `<!-- results:end -->`.
        evaluation: content of metrics/evaluation.json.
        transfer: content of metrics/transfer.json.
        figures: name -> PNG file, with "pairs" and "transfer".
        worth: content of metrics/worth.json.

    Raises:
        InputError: the README, its markers or a figure are missing.
    """
    text = _marked(readme)
    pictures = {name: read_figure(figures.get(name, Path(f"{name}.png"))) for name in FIGURES}
    for name, content in pictures.items():
        _replace(readme.parent / "docs" / f"{name}.png", content)
    _put(readme, text, _block(evaluation, transfer, worth))


def update_results(page: Path, evaluation: Mapping[str, Any], transfer: Mapping[str, Any], worth: Mapping[str, Any]) -> None:
    """Write the current tables, including all of transfer, and its figure between the markers of docs/results.md.

    Raises:
        InputError: the page or its markers are missing.
    """
    look = Look.of(evaluation)
    tables = transfer_tables(transfer, look)
    paragraphs = [
        markdown_table(evaluation),
        means_sentence(evaluation),
        "\n".join(_worth(worth, look)).strip(),
        *(f"{table.caption}\n\n{_markdown(table)}" for table in tables),
        *([TRANSFER_FIGURE] if tables else []),
        _claims(evaluation, transfer),
    ]
    _put(page, _marked(page), "\n\n" + "\n\n".join(filter(None, paragraphs)) + "\n\n")


def _marked(page: Path) -> str:
    """Read a page and check that it has the markers."""
    try:
        text = read_text(page)
    except OSError as error:
        raise InputError(f"{page}: cannot be read ({error.strerror}); write one with the lines {START} and {END}") from error
    if END not in text.partition(START)[2]:
        raise InputError(f"{page}: the lines {START} and {END} are missing; add them where the results belong")
    return text


def _put(page: Path, text: str, block: str) -> None:
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    _replace(page, (before + start + block + end + after).encode())


def _block(evaluation: Mapping[str, Any], transfer: Mapping[str, Any], worth: Mapping[str, Any]) -> str:
    """Text between the markers of the README."""
    chosen, look = evaluation["chosen_by_validation"], Look.of(evaluation)
    means = f"{means_sentence(evaluation)} Validation patients chose {name_of(chosen)}."
    paragraphs = [markdown_table(evaluation), means, "\n".join(_worth(worth, look)).strip(), _claims(evaluation, transfer)]
    return "\n\n" + "\n\n".join(filter(None, paragraphs)) + "\n\n"


def _claims(evaluation: Mapping[str, Any], transfer: Mapping[str, Any]) -> str:
    """One bullet per site on the paper's gain with one patient; "" without target sites."""
    return "\n".join(f"- {line}" for line in transfer_claims(transfer, evaluation["chosen_by_validation"]))


def _worth(worth: Mapping[str, Any], look: Look) -> list[str]:
    """Lines on the learning curve and on the worth of each set, with an empty last line; none if nothing was measured."""
    if not worth:
        return []
    curve = ", ".join(f"{point['dsc']:.3f} with {count}" for count, point in worth["curve"].items())
    bullets = [f"- {line}" for line in worth_verdicts(worth, look)]
    return [f"DSC on real patches by the number of training patients: {curve}. So each set is", "", *bullets, ""]


def _replace(path: Path, content: bytes) -> None:
    """Write a file only if its content changes."""
    if not path.exists() or read_bytes(path, MOST_PICTURE) != content:
        with whole_file(path, as_before=True) as temporary:
            temporary.write_bytes(content)
