"""The block of results in the README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.reading import MOST_PICTURE, read_bytes, read_text
from angiosynth.report.rendering import read_figure
from angiosynth.report.style import Look, name_of
from angiosynth.report.tables import means_sentence, results_table
from angiosynth.report.verdicts import transfer_verdicts
from angiosynth.runtime.output import whole_file

START, END = "<!-- results:start -->", "<!-- results:end -->"
FIGURES = ("pairs", "transfer")


def markdown_table(evaluation: Mapping[str, Any]) -> str:
    """The results as a Markdown table, one row a training data and the threshold baseline last; ends without a line break."""
    table = results_table(evaluation)
    alignment = ["---"] + ["---:"] * (len(table.head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (table.head, alignment, *table.rows))


def update_readme(readme: Path, evaluation: Mapping[str, Any], transfer: Mapping[str, Any], figures: Mapping[str, Path]) -> None:
    """Put the current table and two figures between the README's markers, and the figures themselves into docs/ beside it.

    Args:
        readme: holds one line `<!-- results:start -->` and, below, one line `<!-- results:end -->`.
        evaluation: metrics/evaluation.json.
        transfer: metrics/transfer.json.
        figures: name -> PNG, with "pairs" and "transfer".

    Raises:
        InputError: the README or a figure is missing, or the markers are.
    """
    try:
        text = read_text(readme)
    except OSError as error:
        raise InputError(f"{readme}: cannot be read ({error.strerror}); write one with the lines {START} and {END}") from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{readme}: the lines {START} and {END} are missing; add them where the results belong")
    pictures = {name: read_figure(figures.get(name, Path(f"{name}.png"))) for name in FIGURES}
    for name, content in pictures.items():
        _replace(readme.parent / "docs" / f"{name}.png", content)
    _replace(readme, (before + start + _block(evaluation, transfer) + end + after).encode())


def _block(evaluation: Mapping[str, Any], transfer: Mapping[str, Any]) -> str:
    """The text between the markers."""
    chosen = evaluation["chosen_by_validation"]
    lines = [
        "",
        "![Real and synthetic pairs of image and label](docs/pairs.png)",
        "",
        markdown_table(evaluation),
        "",
        f"{means_sentence(evaluation)} Validation patients chose {name_of(chosen)}.",
        "",
        "![DSC at another site against its number of training patients](docs/transfer.png)",
        "",
        *[f"- {line}" for line in transfer_verdicts(transfer, chosen, Look.of(evaluation))],
        "",
    ]
    return "\n".join(lines)


def _replace(path: Path, content: bytes) -> None:
    """Write only what changed, so that a second run leaves the file as it is."""
    if not path.exists() or read_bytes(path, MOST_PICTURE) != content:
        with whole_file(path, as_before=True) as temporary:
            temporary.write_bytes(content)
