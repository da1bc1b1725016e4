"""Tables of the audit's page: attacks, evidence by criterion, worst-placed patients, methods, and usefulness of the set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from angiosynth.privacy.verdict import ATTACKS, COPIES
from angiosynth.report.rendering import Table, with_interval

# Measure -> what its test compares, and the source of the method.
RESTS_ON = {
    "images": ("ranks of people by the distance to the nearest synthetic image", "GAN-Leaks (CCS 2020)"),
    "images_closest": ("the same over each person's closest 1% of patches", "GAN-Leaks (CCS 2020)"),
    "features": ("ranks of people by that distance in features", "GAN-Leaks (CCS 2020)"),
    "medoids": ("ranks of people by the distance to the set's cluster medoids", "arXiv 2512.06062"),
    "inference": ("ranks of people by how well the set predicts their labels", "after Anonymeter (PETS 2023)"),
    "generator": ("ranks of people by how closely their patches can be drawn", "GAN-Leaks (CCS 2020)"),
    "critic": ("ranks of people by the critic's score", "LOGAN (PETS 2019)"),
    "linkage": ("whether neighbours are of one patient, beside other people's real patches", "WP29 opinion 05/2014"),
    "copies": ("counts of distinctive copies of each person, beside people who were not trained on", ""),
    "copies_features": ("the same in features", ""),
    "copies_learned": ("the same in an embedding that was learnt from drawn heads", "after LCMem (arXiv 2512.14421)"),
    "copies_labels": ("the same in label maps", "RELICT-NI (Neuroinformatics 2025)"),
    "copies_pairs": ("the same in image and label together", "RELICT-NI (Neuroinformatics 2025)"),
    "copies_drawn_labels": ("the same in label maps that the generator draws", "RELICT-NI (Neuroinformatics 2025)"),
    "copies_drawn_pairs": ("the same in image and these label maps together", "RELICT-NI (Neuroinformatics 2025)"),
    "nearer_images": ("who is nearer to the set, training patients or as many others; permuted people", ""),
    "nearer_features": ("the same in features", ""),
}
STATES = {"within": "within its limit", "unclear": "over its limit, cannot be told from chance or control", "over": "OVER its limit"}


def is_shared(audit: Mapping[str, Any]) -> bool:
    """Whether an audit is a shared one, with the rounded figures of `privacy.shared`."""
    return "rounded_to" in audit


def attacks_table(audit: Mapping[str, Any]) -> Table:
    """Build the table of attacks on membership and their controls."""
    head = ["attack: who was trained on?", "who can make it", "AUC", "control", "AUC above control", "p"]
    head += ["recognised at 10% / 1% false alarms", "compared with its limit"]
    findings = {finding["name"]: finding for finding in audit["findings"]}
    rows = []
    for name in (name for name, *_ in ATTACKS if name in audit["membership"]):
        attack, finding = audit["membership"][name], findings[name]
        rates = f"{with_interval(attack, 'tpr_10', '.0%')} / {with_interval(attack, 'tpr_1', '.0%')}"
        auc, excess = with_interval(attack, "auc", ".2f"), with_interval(attack, "excess", ".2f")
        title, holder = finding["description"], f"holder of the {finding['holder']}"
        rows.append([title, holder, auc, f"{attack['control']:.2f}", excess, chance(audit, attack["p"]), rates, state_of(finding)])
    members, others = (audit["membership"]["images"][group] for group in ("members", "others"))
    caption = (
        f"One score a person: {members} trained on, {others} not. AUC 0.5 is guessing, 1 is certainty; in brackets the 95% bootstrap "
        f"interval over people. p: how often chance alone would do as well. Recognised: the share of those trained on whom the attack "
        f"names while it names so few others falsely; false alarms come in steps of {100 / others:.0f}%."
    )
    return Table(caption, head, rows)


def evidence_table(audit: Mapping[str, Any], criterion: str) -> Table:
    """Build the table of the measures of one criterion, with their controls and limits."""
    rows = []
    for finding in audit["findings"]:
        if finding["criterion"] == criterion:
            digits = 4 if finding["name"].startswith("copies") else 2
            value = f"{finding['value']:.{digits}f}"
            if finding["low"] != finding["high"]:
                value += f" ({finding['low']:.{digits}f} to {finding['high']:.{digits}f})"
            control, limit = f"{finding['control']:.{digits}f}", f"{finding['limit']:.{3 if digits == 4 else 2}f}"
            rows.append([finding["description"], value, control, limit, chance(audit, finding["corrected_p"]), state_of(finding)])
    caption = (
        "AUC for membership, shares of patches for all else; in brackets the 95% bootstrap interval. Corrected p: how often chance alone "
        "would bring any measure of this audit so far."
    )
    return Table(caption, ["evidence", "value", "without the generator", "limit", "corrected p", "compared with its limit"], rows)


def worst_table(audit: Mapping[str, Any]) -> Table:
    """Build the table of the worst-placed patient and the worst-placed other person in each measure. It is confidential."""
    rows = []
    for finding in audit["findings"]:
        name = finding["name"]
        if name in COPIES:
            copies = audit[name]
            counts = (f"{copies[f'{group}_counts'][-1]}" for group in ("member", "other"))
            rows.append([finding["description"], *counts, chance(audit, copies["p_worst"])])
        elif name in audit["membership"]:
            attack = audit["membership"][name]
            excess = (f"{attack[f'{group}_excess'][-1]:+.1f}" for group in ("member", "other"))
            rows.append([finding["description"], *excess, chance(audit, attack["worst_p"])])
    caption = (
        "For membership each person's excess over matched people who were not trained on, in standard deviations of these: what the "
        "control's score explains is taken away. For copies numbers of synthetic patches. p: how often chance would bring any of the "
        "patients so far, corrected for the number of patients but not for that of measures."
    )
    return Table(caption, ["measure", "of one patient, at most", "of one not trained on, at most", "p"], rows)


def grounds_table(audit: Mapping[str, Any]) -> Table:
    """Build the table of the test and the source of each measure."""
    rows = [[finding["description"], *RESTS_ON[finding["name"]]] for finding in audit["findings"]]
    caption = "Each has a test with the person as its unit. Where no source is named the measure is this project's."
    return Table(caption, ["measure", "rests on", "source"], rows, prose=True)


def usefulness_table(audit: Mapping[str, Any]) -> Table:
    """Build the table of fidelity, diversity and vessel statistics of the set, and of real patches compared with each other."""
    usefulness = audit["usefulness"]
    rows = []
    for title, key, distance in (("synthetic against real", "synthetic", "fd_unet"), ("real against real", "real", "fd_unet_floor")):
        likeness, vessels = usefulness[key], usefulness["vessels"][key]
        row = [title, *(f"{likeness[name]:.2f}" for name in ("precision", "recall", "density", "coverage")), f"{usefulness[distance]:.2f}"]
        rows.append([*row, f"{vessels['fraction']:.4f}", f"{vessels['calibre_px']:.2f}", f"{vessels['components']:.2f}"])
    caption = (
        "Likeness and variety in features of a U-net, and vessels. The second row is the best that can be asked. "
        "fd_unet is a distance, 0 where sets are alike; precision, recall and coverage are shares, density can pass 1; "
        "of all four the higher is the better."
    )
    head = ["", "precision", "recall", "density", "coverage", "fd_unet", "vessel fraction", "calibre, voxels", "pieces a patch"]
    return Table(caption, head, rows)


def chance(audit: Mapping[str, Any], p: float) -> str:
    """Format a p value; in a shared audit it is an upper bound."""
    if is_shared(audit):
        return f"at most {p:g}"
    return f"{p:.3f}" if p >= 0.0005 else "below 0.001"


def state_of(finding: Mapping[str, Any]) -> str:
    """Describe how a measure compares with its limit."""
    # A rounded value may lie on the other side of the limit, so findings of shared audits have the key `above`.
    explained = finding["state"] == "within" and finding.get("above", finding["value"] > finding["limit"])
    return "over its limit as its control is" if explained else STATES[finding["state"]]
