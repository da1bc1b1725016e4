"""The report's section on sweeps says what sweeps/<study>.json holds, and shows its figures."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from angiosynth.report.captions import SWEEP_CAPTIONS, TITLES
from angiosynth.report.rendering import render
from angiosynth.report.sweep_figures import sweep_figures
from angiosynth.report.sweep_page import study_sections
from tests.report.pages import Page, cells_of


def trial(number: int, dsc: float | None, hd95_mm: float | None, reason: str = "") -> dict[str, Any]:
    state = "fail" if dsc is None else "complete"
    params = {"critic_iterations": number + 1, "spectral_norm": "both", "learning_rate_critic": 0.000512345}
    return {"number": number, "state": state, "reason": reason, "val_dsc": dsc, "val_hd95_mm": hd95_mm, "params": params}


@pytest.fixture
def study() -> dict[str, Any]:
    """Trials 0, 1 and 2 are the front, 1 its knee; see test_search.py."""
    rows = [trial(0, 0.5, 5.0), trial(1, 0.7, 6.0), trial(2, 0.8, 15.0), trial(3, 0.6, 8.0), trial(4, None, None, "diverged <at> step 3")]
    shares = {"val_dsc": {"critic_iterations": 1.0}, "val_hd95_mm": {"critic_iterations": 1.0}}
    facts = {"front": [2, 1, 0], "knee": 1, "hypervolume": [[0, 0.1], [1, 0.2], [2, 0.3]], "importances": shares}
    return {"study": "mine", "model": "wgan-gp-sn", "trials": rows, **facts}


def _section(study: dict[str, Any], figures: dict[tuple[str, str], Path]) -> str:
    return render("sweeps.html", titles=TITLES, studies=study_sections([study], figures))


def test_a_studys_trials_front_and_figures(study: dict[str, Any], tmp_path: Path) -> None:
    paths = sweep_figures(json.loads(json.dumps(study)), tmp_path)
    assert set(paths) == set(SWEEP_CAPTIONS)
    shown = {name: base64.b64encode(path.read_bytes()).decode() for name, path in paths.items()}
    text = _section(study, {("mine", name): path for name, path in paths.items()})
    page = Page(text)
    assert page.open == []
    assert [image["src"] for image in page.all("img")] == [f"data:image/png;base64,{shown[name]}" for name in SWEEP_CAPTIONS]
    assert "WGAN-GP-SN, study mine" in page.text
    assert "5 trials: 4 complete, 1 failed (1 times: diverged <at> step 3)." in page.text
    assert cells_of(text) == ["2|0.800|15.00|3|both|0.0005123", "1 (knee)|0.700|6.00|2|both|0.0005123", "0|0.500|5.00|1|both|0.0005123"]


def test_none_and_a_study_without_a_score(study: dict[str, Any], tmp_path: Path) -> None:
    assert study_sections([], {}) == []
    empty = {**study, "trials": [trial(0, None, None, "no vessel")], "front": [], "knee": None, "hypervolume": [], "importances": {}}
    assert sweep_figures(empty, tmp_path) == {}
    empty["trials"] = [{**trial(0, None, None), "state": "running"}]
    assert "1 trials: 0 complete, 1 at work or cut off." in _section(empty, {})
    assert "No trial has a score yet." in _section(empty, {})
