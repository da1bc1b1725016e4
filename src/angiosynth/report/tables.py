"""Tables of the report: results on test patients, transfer, results of the paper, cards of the sets, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.report.captions import PAPER
from angiosynth.report.rendering import Table, with_interval
from angiosynth.report.style import Look, name_of
from angiosynth.settings import REAL


def results_table(evaluation: Mapping[str, Any]) -> Table:
    """Table with a row for each training set and one for the threshold; with several seeds also a column for the spread over seeds.

    Args:
        evaluation: content of metrics/evaluation.json.
    """
    several, patients = evaluation["real"]["n_seeds"] > 1, evaluation["real"]["n_patients"]
    head = ["U-net trained on", "DSC", *(["SD over seeds"] if several else []), "share of real", "difference to real"]
    head += ["gain over threshold", "95HD, mm", "maximum, mm", "ASSD, mm", "empty"]
    rows = []
    for name in (REAL, *evaluation["generators"], THRESHOLD):
        scores = evaluation[name]
        ratio = 1.0 if name == REAL else evaluation["ratio_to_real"].get(name)
        title = "no U-net: best global threshold" if name == THRESHOLD else f"{name_of(name)} patches"
        rows.append(
            [
                title + (" (chosen by validation)" if name == evaluation["chosen_by_validation"] else ""),
                with_interval(scores, "dsc", ".3f", patients),
                *([f"{scores['dsc_seed_sd']:.3f}" if "dsc_seed_sd" in scores else "-"] if several else []),
                f"{100 * ratio:.1f}%" if ratio is not None else "-",
                with_interval(evaluation["difference_to_real"].get(name), "dsc", "+.3f", patients),
                with_interval(evaluation["gain_over_threshold"].get(name), "dsc", "+.3f", patients),
                with_interval(scores, "hd95_mm", ".2f", patients),
                f"{scores['hd_mm']:.1f}",
                f"{scores['assd_mm']:.2f}",
                f"{scores['n_empty']} of {scores['n_patients'] * scores['n_seeds']}",
            ]
        )
    return Table(f"Test patients. {means_sentence(evaluation)}", head, rows)


def means_sentence(evaluation: Mapping[str, Any]) -> str:
    """Return the sentence that explains the means and brackets of `results_table`."""
    patients, seeds = evaluation["real"]["n_patients"], evaluation["real"]["n_seeds"]
    over = f"{patients} test patient{'s' * (patients != 1)}" + ("" if seeds == 1 else f" and {seeds} seeds of the U-net")
    spread = "" if seeds == 1 else " The SD is that of the seeds' means."
    if patients == 1:
        return f"Scores of {over}: there is no interval over patients.{spread}"
    return f"Means over {over}, in brackets the 95% bootstrap interval over patients; differences are paired by patient.{spread}"


def transfer_tables(transfer: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], look: Look) -> list[Table]:
    """One table for each site in metrics/transfer.json with scores: a row for each start and number of training patients."""
    tables = []
    for site, starts in transfer.items():
        rows = []
        for start in look.ordered(starts):
            title = "no pre-training" if start == SCRATCH else f"pre-trained on {name_of(start)}"
            for count in sorted(starts[start], key=int):
                point = starts[start][count]
                patients = int(point["n_patients"])
                gain = with_interval(point, "dsc_gain", "+.3f", patients)
                scores = [with_interval(point, "dsc", ".3f", patients), gain, with_interval(point, "hd95_mm", ".2f", patients)]
                rows.append([title, count, str(point["n_subsets"]), *scores])
        if rows:
            tested = max(int(point["n_patients"]) for counts in starts.values() for point in counts.values())
            interval = "in brackets the 95% bootstrap interval over subsets and test patients" if tested > 1 else "one, so no interval"
            caption = f"Test patients of {site}, {interval}."
            tables.append(Table(caption, ["start", "training patients", "subsets", "DSC", "gain over no pre-training", "95HD, mm"], rows))
    return tables


def paper_table() -> Table:
    """Return the table with the scores reported in the paper."""
    caption = "The results of the paper, on other data: not to be ranked against the table above."
    return Table(caption, ["paper, U-net trained on", "DSC", "its “95HD”, close to a maximum; unit not known"], PAPER)


def cards_table(cards: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table with a row for each set and a column for each plain value of card.json."""
    keys = list(dict.fromkeys(key for card in cards.values() for key, value in card.items() if not isinstance(value, dict | list)))
    rows = [[name_of(model), *(str(card.get(key, "-")) for key in keys)] for model, card in cards.items()]
    return Table("The card of each set (card.json).", ["set", *(key.replace("_", " ") for key in keys)], rows)


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Return the table with a row for each displayed setting."""
    rows = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in settings.items()]
    return Table("The settings behind these numbers; params.yaml holds all of them.", ["setting", "value"], rows, prose=True)
