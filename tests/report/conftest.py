"""An evaluation of three generators, and figures of one pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.pages import NAMES, PIXEL, gap, row


@pytest.fixture
def evaluation() -> dict[str, Any]:
    levels = dict(zip(NAMES, (0.8, 0.6, 0.78, 0.7, 0.65), strict=True))
    return {
        **{name: row(level) for name, level in levels.items()},
        "generators": list(NAMES[1:4]),
        "chosen_by_validation": "wgan-gp",
        "ratio_to_real": {name: levels[name] / 0.8 for name in NAMES[1:4]},
        "difference_to_real": {"dcgan": gap(-0.2, 0.1), "wgan-gp": gap(-0.02, 0.03), "wgan-gp-sn": gap(0.05, 0.01)},
        "gain_over_threshold": {
            "real": gap(0.15, 0.1),
            "dcgan": gap(-0.05, 0.01),
            "wgan-gp": gap(0.13, 0.1),
            "wgan-gp-sn": gap(0.05, 0.06),
        },
    }


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.png" for name in ("pairs", "scores", "patient", "transfer", "curves", "own-figure")}
    for path in paths.values():
        path.write_bytes(PIXEL)
    return paths
