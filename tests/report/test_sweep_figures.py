"""A sweep's figures show what they were given: colours are looked up in the PNG itself."""

from __future__ import annotations

from pathlib import Path

from angiosynth.report.style import ACCENT, EXTRA, VESSEL
from angiosynth.report.sweep_figures import Value, front_figure, hypervolume_figure, importances_figure, parallel_figure
from tests.report.test_figures import count

POINTS = [(0, 0.5, 5.0), (1, 0.7, 6.0), (2, 0.8, 15.0), (3, 0.6, 8.0)]


def test_the_front_stands_out_and_its_knee_is_ringed(tmp_path: Path) -> None:
    for name, knee in (("with", 1), ("without", None)):
        front_figure(POINTS, [0, 1, 2], tmp_path / f"{name}.png", knee)
    assert count(tmp_path / "with.png", ACCENT) > 200
    assert count(tmp_path / "with.png", VESSEL) > 50 > count(tmp_path / "without.png", VESSEL) == 0
    front_figure(POINTS[:1], [0], tmp_path / "one.png", 0)
    assert 50 < count(tmp_path / "one.png", ACCENT) < count(tmp_path / "with.png", ACCENT)


def test_a_line_of_the_hypervolume(tmp_path: Path) -> None:
    hypervolume_figure([(0, 0.1), (2, 0.4), (3, 0.4)], tmp_path / "a.png")
    hypervolume_figure([(0, 0.1), (2, 0.4), (3, 0.4)], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert count(tmp_path / "a.png", ACCENT) > 200


def test_bars_are_as_long_as_the_importances(tmp_path: Path) -> None:
    shares = {"val_dsc": {"critic_iterations": 0.8, "spectral_norm": 0.2}, "val_hd95_mm": {"critic_iterations": 0.5, "spectral_norm": 0.5}}
    importances_figure(shares, tmp_path / "two.png")
    dsc, hd95_mm = (count(tmp_path / "two.png", colour) for colour in (EXTRA, VESSEL))
    assert dsc > 1000
    assert 0.9 < dsc / hd95_mm < 1.1, "each objective's shares sum to 1"
    importances_figure({}, tmp_path / "none.png")
    assert count(tmp_path / "none.png", VESSEL) == 0


def test_parallel_lines_of_numbers_and_choices(tmp_path: Path) -> None:
    values: list[dict[str, Value]] = [{"learning_rate_critic": 1e-4 * 3**n, "spectral_norm": ("critic", "both")[n % 2]} for n in range(4)]
    rows = [(params, dsc, hd95_mm) for params, (_, dsc, hd95_mm) in zip(values, POINTS, strict=True)]
    parallel_figure(rows, [True, True, True, False], tmp_path / "front.png")
    parallel_figure(rows, [False] * 4, tmp_path / "none.png")
    assert count(tmp_path / "front.png", ACCENT) > 200 > count(tmp_path / "none.png", ACCENT) == 0
    parallel_figure(rows[:1], [True], tmp_path / "one.png")
    assert count(tmp_path / "one.png", ACCENT) > 50
