"""The figure of kinds over training times, from rows of benchmarks/models.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from angiosynth.report.style import Look, rgb
from benchmarks import models_figure


def _rows(path: Path, **scores: list[float]) -> Path:
    """Rows of two test patients a seed, 0.01 above and below the score."""
    rows = []
    for model, values in scores.items():
        name = model.replace("__", ":").replace("_", "-")
        for seed, score in enumerate(values, start=1):
            patients = [{"dsc": score + change, "hd95_mm": 1.0, "cldice": 0.9} for change in (-0.01, 0.01)]
            rows.append({"model": name, "seed": seed, "test": patients})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_scores_are_means_over_patients_by_seed(tmp_path: Path) -> None:
    rows = [json.loads(text) for text in _rows(tmp_path / "a", real=[0.9, 0.88], flow__unet=[0.8]).read_text().splitlines()]
    assert models_figure.seeds_dsc(rows, "real") == pytest.approx([0.9, 0.88])
    assert models_figure.seeds_dsc(rows, "flow:unet") == pytest.approx([0.8])
    assert not len(models_figure.seeds_dsc(rows, "flow"))


def test_each_kind_has_its_colour_and_a_row_without_real_patches_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early = _rows(tmp_path / "a.jsonl", real=[0.88, 0.9], flow=[0.85], flow__unet=[0.87], wgan_gp=[0.84])
    late = _rows(tmp_path / "b.jsonl", real=[0.88, 0.9], flow=[0.86])
    models_figure.main([str(tmp_path / "out.png"), f"two = minutes={early}", f"an hour={late}", "--names", "flow", "wgan-gp"])
    look = Look(("flow", "wgan-gp"))
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    left, right = np.split(pixels, [pixels.shape[1] // 2], axis=1)
    found = {
        (name, side): int((np.abs(half - rgb(look.colour(name))).max(axis=2) < 0.02).sum())
        for name in look.generators
        for side, half in (("left", left), ("right", right))
    }
    assert min(found["flow", "left"], found["wgan-gp", "left"], found["flow", "right"]) > 20
    assert found["wgan-gp", "right"] == 0
    with pytest.raises(SystemExit):
        models_figure.main([str(tmp_path / "none.png"), f"x={_rows(tmp_path / 'c', flow=[0.8])}"])
    assert "holds no row of model real" in capsys.readouterr().err
