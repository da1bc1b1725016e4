"""The audit as one page for a data-protection officer, and its section in the report. It shows no patient's patch and no name.

There are two pages: the house's, of exact figures with a dot a patient, and the one that may leave, of `privacy.shared` alone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from angiosynth.privacy.verdict import ATTACKS, HOLDERS
from angiosynth.report.style import Look, name_of
from angiosynth.report.text import STYLESHEET

STATES = {"within": "within its limit", "unclear": "over its limit, cannot be told from chance or control", "over": "OVER its limit"}
VERDICTS = {
    "not audited": "Not audited: a generator of this kind has nothing of the sort that these attacks could use.",
    "within": "No leak was found: no measure passed its limit by more than its control explains, and the leaks that were planted "
    "to test the audit were found. Leaks too small for so many patients to show are not ruled out.",
    "unclear": "Cannot be told: a measure passed its limit, but with these patients chance or plain differences may explain it.",
    "too few patients": "Cannot be told: with so few patients no leak, however great, could be told from chance.",
    "inconclusive": "Inconclusive: the audit did not find leaks that were planted to test it, so that it found nothing says nothing.",
    "over": "A leak was found: a measure passed its limit beyond what chance and plain differences explain.",
}
RELEASED = {
    "set": "if the set of patches is released",
    "generator": "if the generator is released too (the riskier: sets without end can be drawn from it, and it can be searched)",
    "critic": "if the critic is released as well",
}
CRITERIA = (
    ("singling out", "Can one person be picked out by the set?"),
    ("linkability", "Can patches of the set be tied to one another or to a person?"),
    ("inference", "Can something about a person be learnt from the set that is not true of people in general?"),
)


def build_audit_page(audit: Mapping[str, Any], picture: bytes) -> str:
    """The whole page as HTML text: styles inline, nothing fetched.

    Args:
        audit: audit.json, or of it what may leave (`shared_audit`).
        picture: the PNG of `scores_figure`, or of `attacks_figure` for the page that may leave.
    """
    verdicts = [f"{RELEASED[holder]}: {VERDICTS[verdict]}" for holder, verdict in _by_holder(audit["verdicts"])]
    return PAGE.substitute(
        style=STYLESHEET,
        model=escape(name_of(audit["model"])),
        verdicts=_items([line[0].upper() + line[1:] for line in verdicts]),
        data=_items(_data(audit)),
        attacks=_attacks(audit) + _picture(picture, _may_leave(audit)),
        rounding=_rounding(audit),
        criteria="".join(_criterion(audit, name, question) for name, question in CRITERIA),
        controls=_controls(audit),
        use=_use(audit),
        limits=_items(_limits(audit)),
        digest=escape(str(audit["set_digest"])),
    )


def privacy_section(audits: Mapping[str, Mapping[str, Any]], look: Look, figure: str) -> str:
    """A table of all audits for the report with the figure of use against leakage (HTML), "" where there are none."""
    if not audits:
        return ""
    rows = [["set", "verdict on the set", "AUC, nearest image", "its control", "copies", "linkage above others"]]
    for model in look.ordered(audits):
        one = audits[model]
        found = one["membership"]["images"]
        rows.append(
            [
                name_of(model),
                one["verdicts"]["set"],
                _interval(found, "auc"),
                f"{found['control']:.2f}",
                f"{one['copies']['copies_count']} of {one['n_synthetic']}",
                f"{one['linkage']['excess']:+.3f}",
            ]
        )
    words = [f"{verdict}: {VERDICTS[verdict]}" for verdict in dict.fromkeys(one["verdicts"]["set"] for one in audits.values())]
    more = "<p>Each set's own page is audit/&lt;model&gt;/index.html.</p>"
    table = _table("What each set gives away about its training patients.", rows)
    return f"<section><h2>Privacy audit</h2>{table}{_items(words)}{figure}{more}</section>"


def _data(audit: Mapping[str, Any]) -> list[str]:
    patients = audit["patients"]
    return [
        f"Data: {_about(audit)}{audit['n_training_patches']} patches of {audit['patch_size']}x{audit['patch_size']} voxels from head scans "
        f"(TOF-MRA) of {patients['training']} people, each patch with its vessel label.",
        f"Model: {name_of(audit['model'])}, a generator that was trained on these patches.",
        f"To be released: {audit['n_synthetic']} synthetic pairs of patch and label, not the generator, not the critic.",
        f"Compared with {patients['test']} people of the same place on whom nothing was trained (test patients). {patients['validation']} "
        "more (validation patients) chose the training's end; they are counted on neither side and serve the controls.",
    ]


def _attacks(audit: Mapping[str, Any]) -> str:
    rows = [
        ["attack: who was trained on?", "who can make it", "AUC", "control", "AUC above control", "p", "found at 10% / 1% false alarms", ""]
    ]
    states = {finding["name"]: finding for finding in audit["findings"]}
    for name in (name for name, *_ in ATTACKS if name in audit["membership"]):
        found = audit["membership"][name]
        finding = states[name]
        rates = f"{_interval(found, 'tpr_10', True)} / {_interval(found, 'tpr_1', True)}"
        row = [finding["what"], f"holder of the {finding['holder']}", _interval(found, "auc"), f"{found['control']:.2f}"]
        rows.append([*row, _interval(found, "excess"), _chance(audit, found["p"]), rates, _state(finding)])
    members, others = (audit["membership"]["images"][side] for side in ("members", "others"))
    caption = (
        f"One score a person: {members} trained on, {others} not. AUC 0.5 is guessing, 1 is certainty; in brackets the 95% bootstrap "
        f"interval over people. p: how often chance alone would do as well. Found: the share of those trained on whom the attack names "
        f"while it names so few others falsely; false alarms come in steps of {100 / others:.0f}%."
    )
    return _table(caption, rows)


def _by_holder(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """From the set alone to whoever holds most, in whatever order JSON had them."""
    return [(holder, found[holder]) for holder in HOLDERS]


def _may_leave(audit: Mapping[str, Any]) -> bool:
    """Whether these are the rounded figures of `privacy.shared`."""
    return "rounded_to" in audit


def _about(audit: Mapping[str, Any]) -> str:
    return "about " if _may_leave(audit) else ""


def _rounding(audit: Mapping[str, Any]) -> str:
    if not _may_leave(audit):
        words = (
            "This page is for the house alone: its figures are exact and its dots are people's, so whoever has a person's scan could look "
        )
        return f"<p>{words}that person up. shared/index.html is the page that may leave.</p>"
    return (
        f"<p>Figures over people are rounded to {audit['rounded_to']:g}, which is at least what one person can change, p to the next of a "
        "few bounds above it, shares of copies to the next multiple of their limit, other figures to ten steps a decade: nobody's "
        "own figure can be looked up. The verdicts rest on exact figures.</p>"
    )


def _picture(picture: bytes, may_leave: bool) -> str:
    if may_leave:
        alt = "For each attack its AUC with the interval over people, and beside it the same of its control."
        caption = "The attacks and their controls. An attack tells who was trained on where it lies above guessing and above its control."
    else:
        alt = "For each attack a dot a patient: training patients in one colour, test patients in another, by their scores."
        caption = "Scores of people. Where the orange dots lie above the blue ones, the attack tells who was trained on."
    data = base64.b64encode(picture).decode()
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'


def _state(finding: Mapping[str, Any]) -> str:
    explained = finding["state"] == "within" and finding.get("passes", finding["value"] > finding["limit"])
    return "over its limit as its control is" if explained else STATES[finding["state"]]


def _criterion(audit: Mapping[str, Any], name: str, question: str) -> str:
    rows = [["evidence", "value", "without the generator", "limit", ""]]
    for finding in audit["findings"]:
        if finding["criterion"] == name:
            digits = 4 if finding["name"].startswith("copies") else 2
            value = f"{finding['value']:.{digits}f}"
            if finding["low"] != finding["high"]:
                value += f" ({finding['low']:.2f} to {finding['high']:.2f})"
            rows.append(
                [
                    finding["what"],
                    value,
                    f"{finding['control']:.{digits}f}",
                    f"{finding['limit']:.{3 if digits == 4 else 2}f}",
                    _state(finding),
                ]
            )
    return f"<h3>{escape(name.capitalize())}</h3><p>{escape(question)}</p>{_table('', rows)}"


def _controls(audit: Mapping[str, Any]) -> str:
    lines = []
    for one in audit["planted"]:
        lines.append(
            f"{one['share']:.0%} of the set replaced by noisy training patches: the search for copies found {one['copies']:.2%} of the "
            f"set in pixels and {one['copies_features']:.2%} in features, the attack on membership reached AUC {one['auc']:.2f} "
            f"(p {_chance(audit, one['p'])})."
        )
    over = audit["overfitted"]
    told = ", ".join(f"with the {holder} AUC {over[holder]['auc']:.2f}" for holder in ("set", "generator", "critic"))
    lines.append(
        f"A generator that learnt {audit['settings']['overfit_patches']} patches of one person by heart: these told from patches of others "
        f"{told}; {over['linkage']['share']:.0%} of its patches led to that person ({over['linkage']['share_held_out']:.0%} of other "
        "people's real patches do)."
    )
    lines += [
        f"So the attacks with the {holder} {'found what was planted' if found else 'did NOT find all that was planted'}."
        for holder, found in _by_holder(audit["controls"])
    ]
    plain = audit["plain_differences"]
    lines.append(
        f"Plain differences between the two groups of people, without any generator: mean grey level alone tells them apart with AUC "
        f"{plain['mean_intensity']:.2f}, vessel fraction with {plain['vessel_fraction']:.2f}."
    )
    return _items(lines)


def _use(audit: Mapping[str, Any]) -> str:
    use = audit["usefulness"]
    rows = [["", "precision", "recall", "density", "coverage", "fd_unet", "vessel fraction", "calibre, voxels", "pieces a patch"]]
    for who, key, distance in (("synthetic against real", "synthetic", "fd_unet"), ("real against real", "real", "fd_unet_floor")):
        likeness, vessels = use[key], use["vessels"][key]
        row = [who, *(f"{likeness[name]:.2f}" for name in ("precision", "recall", "density", "coverage")), f"{use[distance]:.2f}"]
        rows.append([*row, f"{vessels['fraction']:.4f}", f"{vessels['calibre_px']:.2f}", f"{vessels['components']:.2f}"])
    return _table(
        "Likeness and variety in features of a U-net, and vessels. The second row is the best that can be asked. "
        "fd_unet is a distance, 0 where sets are alike; precision, recall and coverage are shares, density can pass 1; "
        "of all four the higher is the better.",
        rows,
    )


def _limits(audit: Mapping[str, Any]) -> list[str]:
    own = audit["membership"]["images"]
    return [
        f"With {own['members']} and {own['others']} people intervals are wide: an attack that works a little better than its AUC "
        f"here cannot be ruled out up to the interval's upper end. The smallest p that so many people can give is {own['least_p']:.4f}.",
        "Only the attacks listed here were tried. A better one may be found later; what was released cannot be called back.",
        "An interval resamples people; where an attack tells them apart without a fault it is too narrow.",
        "No correction was made for the number of attacks: a false alarm is the lesser harm.",
        "The U-net whose features are used was itself trained on the training patients; the control uses the same features.",
        "The closest pairs of synthetic and real patches are drawn in gallery.png, in the house. It shows patients' patches and "
        "belongs to no release.",
        "Whether the set may be treated as anonymous is a judgement of law and circumstance that these figures inform and do not make.",
    ]


def _chance(audit: Mapping[str, Any], p: float) -> str:
    return f"at most {p:g}" if _may_leave(audit) else f"{p:.3f}"


def _interval(found: Mapping[str, float], name: str, percent: bool = False) -> str:
    value, low, high = (found[f"{name}{end}"] for end in ("", "_low", "_high"))
    if percent:
        return f"{value:.0%} ({low:.0%} to {high:.0%})"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _items(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>\n" for line in lines) + "</ul>"


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>\n' for row in rows[1:]
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


PAGE = Template("""<!DOCTYPE html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>angiosynth: privacy audit of a synthetic set</title>
<style>$style
td { white-space: normal; } main { max-width: 64rem; }</style>
</head>
<body>
<header>
<h1>Privacy audit: the synthetic set of $model</h1>
<p class="lead">What an attacker who holds the set, the generator or the critic can tell about the people whose scans were trained
on. The limits are those of the settings (audit.limits), to be written down before the first audit is looked at; whether they were, the
project's history of params.yaml tells and this page cannot.</p>
</header>
<main>
<section><h2>Result</h2>$verdicts
$rounding</section>
<section><h2>What was audited</h2>$data</section>
<section><h2>Attackers</h2>$attacks
<p>The control makes the same attack with real patches of other people in the set's place. It knows nothing of the generator, so what it
"finds" are plain differences between the two groups. An attack counts as over its limit only where it passes the limit, lies above
its control, and chance explains neither.</p></section>
<section><h2>Evidence by the criteria of WP29 opinion 05/2014</h2>$criteria</section>
<section><h2>Can this audit find a leak?</h2>$controls</section>
<section><h2>What the set is worth</h2>$use</section>
<section><h2>What this does not say</h2>$limits
<p>Digest of the audited set: <code>$digest</code>.</p></section>
</main>
</body>
</html>
""")
