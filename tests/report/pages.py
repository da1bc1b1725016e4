"""An evaluation and a transfer as their stages write them, by hand; and a reader of pages."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from angiosynth.report.style import Look

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


COUNTS = {"n_patients": 5, "n_subsets": 3}


def gain(mean: float, half: float) -> dict[str, float]:
    return {"dsc_gain": mean, "dsc_gain_low": mean - half, "dsc_gain_high": mean + half}


AT_B = {
    "scratch": {"1": gap(0.5, 0.1) | COUNTS | {"hd95_mm": 4.0}, "12": gap(0.7, 0.1) | COUNTS | {"hd95_mm": 3.0}},
    "dcgan": {"1": gap(0.45, 0.1) | gain(-0.05, 0.04) | COUNTS | {"hd95_mm": 5.0}},
}
TRANSFER = {"site-b": AT_B}


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


def cells_of(page: str) -> list[str]:
    """Rows of the page's tables, their cells with a bar between them."""
    rows = re.findall(r"<tr role=\"row\"><th scope=\"row\".*?</tr>", page)
    return ["|".join(re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)) for row in rows]
