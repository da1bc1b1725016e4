"""Texts of a package: README, card.json, a loader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from angiosynth.generators.synthesis import labelled_by_unet
from angiosynth.release.formats import Format
from angiosynth.release.promise import promise_words
from angiosynth.settings.audit import ReleaseSettings
from angiosynth.settings.texts import escaped_markdown


def unpack_json(content: bytes) -> list[bytes]:
    """Return a JSON text, and the same text with escape sequences decoded."""
    return [content, json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "backslashreplace")]


FORMATS = {
    ".md": Format("text/plain", text=True),
    ".json": Format("application/json", unpack_json, text=True),
    ".py": Format("text/x-python", text=True),
}

LOADER = '''"""Load the patches: image (n, x, y) float32 in [-1, 1], label (n, x, y) 0 or 1. `python load.py` shows a few figures."""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).parent / "patches.npz", allow_pickle=False) as patches:
    image, label = patches["image"].astype(np.float32) / 127.5 - 1.0, patches["label"]
if __name__ == "__main__":
    print(image.shape, "mean", image.mean(), "vessel fraction", label.mean())
'''

README = Template("""# $name

$n synthetic pairs of a brain-vessel patch (TOF-MRA, ${size}x$size) and its vessel label, drawn by a generator ($model). No pair was scanned
from anybody; the generator was trained on patches of $patients people. $labels

Released on $date by: $creator. Licence: $licence.

| file | holds |
|---|---|
| patches.npz | `image` (n, x, y) uint8, 0..255 for [-1, 1]; `label` (n, x, y) uint8, 0 or 1 |
| nifti/ | the same as stacks (x, y, n) for a viewer; x and y have the true voxel size, the third axis counts pairs |
| load.py | ten lines that load the pairs |
$unet$generator| card.json, croissant.json | the facts for machines |
| audit/index.html, audit/audit.json | the privacy audit of this very set |
| SHA256SUMS | `sha256sum --check --strict SHA256SUMS` |
| SHA256SUMS.sig | of a signed set: `ssh-keygen -Y verify -f SIGNERS -I NAME -n angiosynth-release -s SHA256SUMS.sig < SHA256SUMS` |

Voxel size: $spacing mm, slices across last: the median over the scans that were trained on, to three digits$alike. It is the
scanner's setting and says nothing of a patient.

Intensity: percentiles $low and $high inside the brain became -1 and 1 (rule `$rule`). Scale your own scans likewise before using a network
that was trained on these pairs; `python cli.py pretrain-from FOLDER` of angiosynth sees to that.

## Privacy

$promise

$verdict

$holder

$override

The audit names the attacks that were tried and their limits. It does not say that the set is anonymous.

## Use

For training and testing of vessel segmentation. The pairs are two-dimensional patches, not heads; nothing clinical may be concluded from
them. Trying to find out who was trained on is against the terms of this release.
""")

UNET = """| unet/ | a U-net that was trained on these pairs alone: weights (safetensors), and how images are standardised |
"""

GENERATOR = """| generator/ | the generator that drew the pairs: weights (safetensors) and the settings that drawing depends on |
"""
# By the source of the labels, see `synthesis.labels`.
LABELLED_BY = {
    "generator": "Images and labels were drawn together.",
    "unet": "Labels are those of a U-net that was trained on patches of the same people, and replaced those that the generator draws.",
}
AUDITED = """Whoever holds the generator too can draw more pairs and try attacks that the pairs alone do not allow. The audit made one on
these very weights, reconstruction of patients' pairs; its verdict on generator and set together: **$generator**. Critic, seed and other
checkpoints did not leave."""
# Added where U-nets labelled the set; without this search no such generator is released.
DRAWN_LABELS = """
The labels that it draws are its own and not those of these pairs; the audit searched them for copies too."""
PROMISED = """The promise covers the generator's file, which is computed from the noisy votes alone. The audit has no attack on it."""


@dataclass(frozen=True)
class Terms:
    """Terms of a release.

    Attributes:
        by: section `release`: creator and licence.
        date: YYYY-MM-DD.
        override: reason for a release against the audit; "" if the audit allows it.
    """

    by: ReleaseSettings
    date: str
    override: str = ""


def card_of(name: str, set_card: Mapping[str, Any], audit: Mapping[str, Any], terms: Terms) -> dict[str, Any]:
    """Return the content of card.json, without information on single patients.

    Args:
        name: name of the package.
        set_card: card.json of the synthetic set.
        audit: the audit results that may be released.
        terms: terms of the release.
    """
    # Without the seed, which together with a leaked generator would reproduce the pairs.
    kept = ("model", "n", "size", "label_threshold", "intensity", "vessel_fraction", "spacing_mm", "spacing_varies")
    return {
        "name": name,
        "date": terms.date,
        **terms.by.model_dump(mode="json"),
        "format": 1,
        **{key: set_card[key] for key in kept},
        **{key: set_card[key] for key in ("labels", "promise") if key in set_card},
        "patients_trained_on": audit["patients"]["training"],
        "set_digest": audit["set_digest"],
        "audit": {"verdicts": audit["verdicts"], "limits": audit["limits"]},
        "override": terms.override,
    }


def readme_of(card: Mapping[str, Any], *, with_unet: bool = False, with_generator: bool = False) -> str:
    """Return the text of README.md."""
    verdicts = card["audit"]["verdicts"]
    audited = AUDITED + (DRAWN_LABELS if labelled_by_unet(card) else "")
    holder = Template(PROMISED if card.get("promise") else audited).substitute(verdicts) if with_generator else ""
    reason = f"**Released against the audit's verdict.** The reason given: {escaped_markdown(card['override'])}" if card["override"] else ""
    text = README.substitute(
        name=escaped_markdown(card["name"]),
        n=card["n"],
        size=card["size"],
        model=card["model"],
        labels=LABELLED_BY[card.get("labels", "generator")],
        patients=card["patients_trained_on"],
        date=card["date"],
        creator=escaped_markdown(card["creator"]),
        # In angle brackets Markdown treats an address literally; addresses cannot contain these.
        licence=f"<{card['licence']}>" if "://" in card["licence"] else escaped_markdown(card["licence"]),
        promise=promise_words(card.get("promise", {})),
        verdict=f"Verdict of the audit on the set: **{verdicts['set']}** (see audit/index.html for its meaning).",
        holder=holder,
        override=reason,
        unet=UNET if with_unet else "",
        generator=GENERATOR if with_generator else "",
        spacing=" x ".join(f"{length:g}" for length in card["spacing_mm"]),
        alike="; they differ by more than 1%" if card["spacing_varies"] else "",
        **card["intensity"],
    )
    return re.sub(r"\n{3,}", "\n\n", text)
