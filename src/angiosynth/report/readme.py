"""The blocks of results in the README and in docs/results.md."""

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
    """The results as a Markdown table, one row a training data and the threshold baseline last; ends without a line break."""
    return _markdown(results_table(evaluation))


def _markdown(table: Table) -> str:
    alignment = ["---"] + ["---:"] * (len(table.head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (table.head, alignment, *table.rows))


def update_readme(
    readme: Path, evaluation: Mapping[str, Any], transfer: Mapping[str, Any], figures: Mapping[str, Path], worth: Mapping[str, Any]
) -> None:
    """Put the current table and claims between the README's markers, and the two figures of README and docs/results.md into docs/.

    Args:
        readme: holds one line `<!-- results:start -->` and, below, one line `<!-- results:end -->`.
        evaluation: metrics/evaluation.json.
        transfer: metrics/transfer.json.
        figures: name -> PNG, with "pairs" and "transfer".
        worth: metrics/worth.json.

    Raises:
        InputError: the README or a figure is missing, or the markers are.
    """
    text = _marked(readme)
    pictures = {name: read_figure(figures.get(name, Path(f"{name}.png"))) for name in FIGURES}
    for name, content in pictures.items():
        _replace(readme.parent / "docs" / f"{name}.png", content)
    _put(readme, text, _block(evaluation, transfer, worth))


def update_results(page: Path, evaluation: Mapping[str, Any], transfer: Mapping[str, Any], worth: Mapping[str, Any]) -> None:
    """Put the current tables, that of transfer in full, and its figure between the markers of docs/results.md.

    Raises:
        InputError: the page is missing, or its markers are.
    """
    look = Look.of(evaluation)
    tables = transfer_tables(transfer, look)
    parts = [
        markdown_table(evaluation),
        means_sentence(evaluation),
        "\n".join(_worth(worth, look)).strip(),
        *(f"{table.caption}\n\n{_markdown(table)}" for table in tables),
        *([TRANSFER_FIGURE] if tables else []),
        _claims(evaluation, transfer),
    ]
    _put(page, _marked(page), "\n\n" + "\n\n".join(filter(None, parts)) + "\n\n")


def _marked(page: Path) -> str:
    """A page's text, which has the markers."""
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
    """The text between the markers."""
    chosen, look = evaluation["chosen_by_validation"], Look.of(evaluation)
    means = f"{means_sentence(evaluation)} Validation patients chose {name_of(chosen)}."
    parts = [markdown_table(evaluation), means, "\n".join(_worth(worth, look)).strip(), _claims(evaluation, transfer)]
    return "\n\n" + "\n\n".join(filter(None, parts)) + "\n\n"


def _claims(evaluation: Mapping[str, Any], transfer: Mapping[str, Any]) -> str:
    """A bullet a site on the paper's gain with one patient; "" where none was transferred to."""
    return "\n".join(f"- {line}" for line in transfer_claims(transfer, evaluation["chosen_by_validation"]))


def _worth(worth: Mapping[str, Any], look: Look) -> list[str]:
    """Lines on the curve of real patches and on each set's worth, an empty one last; none where nothing was measured."""
    if not worth:
        return []
    curve = ", ".join(f"{point['dsc']:.3f} with {count}" for count, point in worth["curve"].items())
    bullets = [f"- {line}" for line in worth_verdicts(worth, look)]
    return [f"DSC on real patches by the number of training patients: {curve}. So each set is", "", *bullets, ""]


def _replace(path: Path, content: bytes) -> None:
    """Write only what changed, so that a second run leaves the file as it is."""
    if not path.exists() or read_bytes(path, MOST_PICTURE) != content:
        with whole_file(path, as_before=True) as temporary:
            temporary.write_bytes(content)
