"""The report: one HTML page that needs no other file and no network, and the block of results in the README."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.reading import MOST_PICTURE, read_bytes, read_text
from angiosynth.report.audit_page import privacy_section
from angiosynth.report.style import Look, name_of
from angiosynth.report.sweep_page import sweep_section
from angiosynth.report.text import CAPTIONS, PAPER, STYLESHEET, TEMPLATE
from angiosynth.report.verdicts import transfer_verdicts, verdicts
from angiosynth.runtime.output import whole_file
from angiosynth.settings import REAL

START, END = "<!-- results:start -->", "<!-- results:end -->"
FIGURE_SECTIONS = {
    "pairs": "Real and synthetic pairs",
    "patient": "One patient",
    "curves": "How the generators trained",
    "progress": "The same random numbers as training went on",
}
README_FIGURES = ("pairs", "transfer")


@dataclass(frozen=True)
class PageContext:
    """All that the page shows."""

    evaluation: Mapping[str, Any]  # metrics/evaluation.json
    transfer: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]  # metrics/transfer.json
    figures: Mapping[str, Path]  # name -> PNG; pairs, scores, patient, transfer, curves, progress, and any other
    settings: Mapping[str, Any] = field(default_factory=dict)  # what of params.yaml is worth showing
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # model -> card.json of its synthetic set
    notes: Sequence[str] = ()  # what a reader must know about these data, such as an estimated voxel size
    sweeps: Sequence[Mapping[str, Any]] = ()  # what sweeps/<study>.json hold
    sweep_figures: Mapping[tuple[str, str], Path] = field(default_factory=dict)  # (study, name) -> PNG
    audits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # model -> audit.json


def build_page(context: PageContext) -> str:
    """The whole page as HTML text: styles inline, figures as data, no scripts, nothing fetched.

    Raises:
        InputError: a figure is missing.
    """
    evaluation = context.evaluation
    chosen, look = evaluation["chosen_by_validation"], Look.of(evaluation)
    shown = {name: _figure(name, path) for name, path in context.figures.items()}
    parts = {
        "style": STYLESHEET,
        "verdict": _items(verdicts(evaluation)),
        "notes": _section("About these data", _items(context.notes)) if context.notes else "",
        "table": _html_table(evaluation),
        "paper": _paper_table(),
        "transfer": "".join(_transfer_table(site, starts, look) for site, starts in context.transfer.items())
        + _items(transfer_verdicts(context.transfer, chosen, look)),
        "cards": _section("The synthetic sets", _cards_table(context.cards)) if context.cards else "",
        "settings": _section("Settings", f"<pre>{escape(json.dumps(context.settings, indent=2))}</pre>") if context.settings else "",
        "patients": str(evaluation["real"]["n_patients"]),
        "sweeps": sweep_section(context.sweeps, {key: _encoded(path) for key, path in context.sweep_figures.items()}),
        "privacy": privacy_section(context.audits, look, shown.pop("leakage", "")),
    }
    parts |= {f"figure_{name}": shown.pop(name, "") for name in ("scores", "transfer")}
    for name, title in FIGURE_SECTIONS.items():
        parts[f"section_{name}"] = _section(title, shown.pop(name)) if name in shown else ""
    parts["others"] = _section("More figures", "".join(shown.values())) if shown else ""
    return TEMPLATE.substitute(parts)


def markdown_table(evaluation: Mapping[str, Any]) -> str:
    """The results as a Markdown table, one row a training data and the threshold baseline last; ends without a line break."""
    head, *body = _table(evaluation)
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, align, *body))


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
    pictures = {name: _bytes(figures.get(name, Path(f"{name}.png"))) for name in README_FIGURES}
    for name, content in pictures.items():
        _replace(readme.parent / "docs" / f"{name}.png", content)
    _replace(readme, (before + start + _readme_block(evaluation, transfer) + end + after).encode())


def _readme_block(evaluation: Mapping[str, Any], transfer: Mapping[str, Any]) -> str:
    lines = [
        "",
        "![Real and synthetic pairs of image and label](docs/pairs.png)",
        "",
        markdown_table(evaluation),
        "",
        f"{_means_sentence(evaluation)} Validation patients chose {name_of(evaluation['chosen_by_validation'])}.",
        "",
        "![DSC at another site against its number of training patients](docs/transfer.png)",
        "",
        *[f"- {line}" for line in transfer_verdicts(transfer, evaluation["chosen_by_validation"], Look.of(evaluation))],
        "",
    ]
    return "\n".join(lines)


def _means_sentence(evaluation: Mapping[str, Any]) -> str:
    """What the table's means and brackets are over."""
    patients, seeds = evaluation["real"]["n_patients"], evaluation["real"]["n_seeds"]
    over = f"{patients} test patients" if seeds == 1 else f"{patients} test patients and {seeds} seeds of the U-net"
    spread = "" if seeds == 1 else " The SD is that of the seeds' means."
    return f"Means over {over}, in brackets the 95% bootstrap interval over patients; differences are paired by patient.{spread}"


def _table(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Heading and rows as text; a column for the spread over seeds where there are several."""
    several = evaluation["real"]["n_seeds"] > 1
    heading = ["U-net trained on", "DSC", *(["SD over seeds"] if several else []), "share of real", "difference to real"]
    rows = [[*heading, "gain over threshold", "95HD, mm", "maximum, mm", "ASSD, mm", "empty"]]
    for name in (REAL, *evaluation["generators"], THRESHOLD):
        scores = evaluation[name]
        ratio = 1.0 if name == "real" else evaluation["ratio_to_real"].get(name)
        who = "no U-net: best global threshold" if name == THRESHOLD else f"{name_of(name)} patches"
        rows.append(
            [
                who + (" (chosen by validation)" if name == evaluation["chosen_by_validation"] else ""),
                _interval(scores, "dsc", 3),
                *([f"{scores['dsc_seed_sd']:.3f}" if "dsc_seed_sd" in scores else "-"] if several else []),
                f"{100 * ratio:.1f}%" if ratio is not None else "-",
                _interval(evaluation["difference_to_real"].get(name), "dsc", 3, "+"),
                _interval(evaluation["gain_over_threshold"].get(name), "dsc", 3, "+"),
                _interval(scores, "hd95_mm", 2),
                f"{scores['hd_mm']:.1f}",
                f"{scores['assd_mm']:.2f}",
                f"{scores['n_empty']} of {scores['n_patients'] * scores['n_seeds']}",
            ]
        )
    return rows


def _interval(scores: Mapping[str, float] | None, key: str, digits: int, sign: str = "") -> str:
    """Such as "0.869 (0.862 to 0.876)"; a dash where there is none."""
    if scores is None or key not in scores:
        return "-"
    mean, *ends = (f"{scores[name]:{sign}.{digits}f}" for name in (key, f"{key}_low", f"{key}_high") if name in scores)
    return f"{mean} ({' to '.join(ends)})" if ends else mean


def _html_table(evaluation: Mapping[str, Any]) -> str:
    return _rows(f"Test patients. {_means_sentence(evaluation)}", _table(evaluation))


def _transfer_table(site: str, transfer: Mapping[str, Mapping[str, Mapping[str, float]]], look: Look) -> str:
    rows = [["start", "training patients", "subsets", "DSC", "gain over no pre-training", "95HD, mm"]]
    for start in look.ordered(transfer):
        name = "no pre-training" if start == SCRATCH else f"pre-trained on {name_of(start)}"
        for count in sorted(transfer[start], key=int):
            point = transfer[start][count]
            scores = [_interval(point, "dsc", 3), _interval(point, "dsc_gain", 3, "+"), _interval(point, "hd95_mm", 2)]
            rows.append([name, count, str(point["n_subsets"]), *scores])
    caption = f"Test patients of {site}, in brackets the 95% bootstrap interval over subsets and test patients."
    return _rows(caption, rows) if len(rows) > 1 else ""


def _paper_table() -> str:
    caption = "The paper's own figures, on other data: not to be ranked against the table above."
    return _rows(caption, [["paper, U-net trained on", "DSC", "its “95HD”, close to a maximum; unit not known"], *PAPER])


def _cards_table(cards: Mapping[str, Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for card in cards.values() for key, value in card.items() if not isinstance(value, dict | list)))
    body = [[name_of(model), *(str(card.get(key, "-")) for key in keys)] for model, card in cards.items()]
    return _rows("What each set's card says.", [["set", *(key.replace("_", " ") for key in keys)], *body])


def _rows(caption: str, rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>\n' for row in rows[1:]
    )
    table = f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _items(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>\n" for line in lines) + "</ul>"


def _figure(name: str, path: Path) -> str:
    alt, caption = CAPTIONS.get(name, (name.replace("-", " "), name.replace("-", " ")))
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{_encoded(path)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(_bytes(path)).decode()


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, MOST_PICTURE)
    except OSError as error:
        raise InputError(f"{path}: the figure is missing; run `dvc repro report` to draw it") from error


def _replace(path: Path, content: bytes) -> None:
    """Write only what changed, so that a second run leaves the file as it is."""
    if not path.exists() or read_bytes(path, MOST_PICTURE) != content:
        with whole_file(path, as_before=True) as temporary:
            temporary.write_bytes(content)
