"""Results as sentences. A difference whose interval contains zero is called a tie, and a loss is called a loss.

With a single test patient there is no interval, and so no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.report.rendering import with_interval
from angiosynth.report.style import Look, name_of
from angiosynth.settings import REAL

PAPERS_GAIN = 0.07  # DSC with one patient: 0.91 pre-trained on WGAN-GP-SN patches, 0.84 from scratch (Kossen et al. 2021)

Transfer = Mapping[str, Mapping[str, Mapping[str, float]]]  # one site of metrics/transfer.json: start -> number of patients -> scores


def verdicts(evaluation: Mapping[str, Any]) -> list[str]:
    """One sentence for each result on test patients, including ties and losses."""
    chosen, look, patients = evaluation["chosen_by_validation"], Look.of(evaluation), evaluation[REAL]["n_patients"]
    lines = [f"Validation patients chose {name_of(chosen)}: {_validation(evaluation[chosen])}. The test patients had no say in it."]
    for model in look.generators:
        gap, ratio = evaluation["difference_to_real"][model], evaluation["ratio_to_real"][model]
        share = f" ({100 * ratio:.1f}% of its DSC)" if ratio is not None else ""
        lines.append(f"Trained on {name_of(model)} patches, the U-net {_against(gap, 'the one trained on real patches', patients)}{share}.")
    for data in (REAL, *look.generators):
        gain = evaluation["gain_over_threshold"][data]
        lines.append(f"Trained on {name_of(data)} patches, the U-net {_against(gain, 'the best global threshold', patients)}.")
    empty = [
        f"{name_of(name)}: {evaluation[name]['n_empty']}" for name in (REAL, *look.generators, THRESHOLD) if evaluation[name]["n_empty"]
    ]
    if empty:
        lines.append(f"Some predictions were empty and count with the volume's diagonal as distance ({', '.join(empty)}).")
    return lines


def worth_verdicts(worth: Mapping[str, Any], look: Look) -> list[str]:
    """Sentences for each generator; none if nothing was measured. Ends of the curve are described by "at most" or "at least".

    Args:
        worth: content of metrics/worth.json.
        look: style of the report, for the order.
    """
    counts = [int(count) for count in worth.get("curve", {})]
    lines = []
    for name in look.generators if counts else ():
        entry = worth["sets"][name]
        low, high = (worth_words(entry[f"patients_{end}"], counts) for end in ("low", "high"))
        value = worth_words(entry["patients"], counts)
        lines.append(f"{name_of(name)}: as good as the patches of {value} patients (95% interval: {low} to {high}).")
        together = worth.get("together", {}).get(name, {})
        for count in sorted(together, key=int):
            point = together[count]
            few = f"{name_of(name)} together with the real patches of {_patients(int(count))}: DSC {point['dsc']:.3f}"
            lines.append(f"{few}, {_gain(point)} against these patches alone.")
    return lines


def worth_words(patients: float, counts: Sequence[int]) -> str:
    """Format a number of patients on a curve over `counts`, such as "5.2" or "at least 8"."""
    if patients <= min(counts):
        return f"at most {min(counts)}"
    return f"at least {max(counts)}" if patients >= max(counts) else f"{patients:.1f}"


def transfer_verdicts(transfer: Mapping[str, Transfer], chosen: str, look: Look) -> list[str]:
    """One sentence for each site and number of training patients on the gain of each pre-training, and one on the paper's claim.

    Args:
        transfer: content of metrics/transfer.json.
        chosen: the generator selected on validation patients.
        look: style of the report, for the order.
    """
    lines = [line for site, starts in transfer.items() for line in _site_verdicts(site, starts, chosen, look)]
    return lines or ["There is no other site, so nothing was transferred."]


def _site_verdicts(site: str, transfer: Transfer, chosen: str, look: Look) -> list[str]:
    scratch = transfer.get(SCRATCH, {})
    lines = []
    for count in sorted(scratch, key=int):
        gains = [
            f"{name_of(start)} {_gain(transfer[start][count])}" for start in look.ordered(transfer) if _has_gain(transfer, start, count)
        ]
        dsc, changed = scratch[count]["dsc"], ", ".join(gains) or "nothing: there was none"
        lines.append(f"With {_patients(int(count))} of {site}: DSC {dsc:.3f} without pre-training; pre-training changed it by {changed}.")
    return lines + transfer_claims({site: transfer}, chosen)


def transfer_claims(transfer: Mapping[str, Transfer], chosen: str) -> list[str]:
    """One sentence on the paper's gain for each site where the selected generator was tested with one patient."""
    return [_claim(starts[chosen]["1"], chosen, site) for site, starts in transfer.items() if _has_gain(starts, chosen, "1")]


def _has_gain(transfer: Transfer, start: str, count: str) -> bool:
    return "dsc_gain" in transfer.get(start, {}).get(count, {})


def _gain(point: Mapping[str, float]) -> str:
    return with_interval(point, "dsc_gain", "+.3f", int(point["n_patients"]))


def _claim(point: Mapping[str, float], chosen: str, site: str) -> str:
    """Compare the paper's gain with one patient to the interval of ours."""
    low, high = point["dsc_gain_low"], point["dsc_gain_high"]
    if point["n_patients"] == 1:
        answer = "of one patient there is no interval, so it says nothing of the claim"
    elif high < 0:
        answer = "a loss, against the paper's claim"
    elif low <= 0:
        answer = "a tie, whose interval holds zero" + (" and the paper's gain" if high >= PAPERS_GAIN else " and not the paper's gain")
    elif low > PAPERS_GAIN:
        answer = "a gain, and a greater one"
    else:
        answer = "a gain, " + ("and the interval holds the paper's" if high >= PAPERS_GAIN else "but a smaller one")
    subsets = "1 subset" if point["n_subsets"] == 1 else f"{point['n_subsets']} subsets"
    ours = f"the {name_of(chosen)} patches that validation chose, it is {_gain(point)} over {subsets} and {_tested(point)}"
    return f"The paper's gain with one patient is {PAPERS_GAIN:+.2f}, on other scans. At {site}, with {ours}: {answer}."


def _tested(point: Mapping[str, float]) -> str:
    return "1 test patient" if point["n_patients"] == 1 else f"{point['n_patients']} test patients"


def _patients(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


def _against(gap: Mapping[str, float], other: str, patients: int) -> str:
    """Describe a difference in DSC as win, tie or loss by its paired interval, with the spread over several seeds."""
    seeds = f", SD over seeds {gap['dsc_seed_sd']:.3f}" if "dsc_seed_sd" in gap else ""
    if patients == 1:
        side = "above" if gap["dsc"] > 0 else "below"
        return f"is {abs(gap['dsc']):.3f} DSC {side} {other} (one test patient: no interval, so neither a win nor a loss{seeds})"
    interval = f"interval {gap['dsc_low']:+.3f} to {gap['dsc_high']:+.3f}"
    if gap["dsc_low"] > 0 or gap["dsc_high"] < 0:
        return f"{'beats' if gap['dsc_low'] > 0 else 'loses to'} {other} by {abs(gap['dsc']):.3f} DSC ({interval}{seeds})"
    return f"ties with {other}: {gap['dsc']:+.3f} DSC ({interval} holds zero{seeds})"


def _validation(scores: Mapping[str, float]) -> str:
    return f"DSC {scores['val_dsc']:.3f}, 95HD {scores['val_hd95_mm']:.2f} mm"
