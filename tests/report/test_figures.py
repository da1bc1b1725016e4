"""Figures are small, the same on every run, and show what they were given: colours are looked up in the PNG itself."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from angiosynth.data.intensity import Scan
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import PatientScore
from angiosynth.report import figures, projections
from angiosynth.report.style import EXTRA, FIXED, HIT, MISSED, OTHER, PALETTE, SIGNS, VESSEL, Look, rgb
from tests.factories import make_score

MODELS = ("dcgan", "wgan-gp", "wgan-gp-sn", "wide")
LOOK = Look(MODELS)


def patches(n: int, size: int = 64, seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Noise with a bright bar that is the label."""
    rng = np.random.default_rng(seed)
    image = rng.integers(40, 90, (n, size, size)).astype(np.uint8)
    label = np.zeros((n, size, size), np.uint8)
    label[:, size // 4 : size // 2, size // 3 : size // 2] = 1
    image[label == 1] = 230
    return image, label


def scores(level: float) -> list[PatientScore]:
    return [make_score(f"sub-{n}", level + 0.02 * n, 3.0 + n, 20.0) for n in range(4)]


def point(dsc: float) -> dict[str, float]:
    return {"dsc": dsc, "dsc_low": dsc - 0.03, "dsc_high": dsc + 0.03, "hd95_mm": 4.0}


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def count(path: Path, colour: str) -> int:
    """Pixels of exactly this colour."""
    return int((pixels(path) == np.rint(rgb(colour) * 255)).all(axis=2).sum())


def draw_pairs(path: Path, size: int = 64) -> None:
    synthetic = {model: patches(5, size, seed) for seed, model in enumerate(MODELS)}
    figures.pairs_figure(*patches(9, size), synthetic, LOOK, path)


def draw_contact(path: Path) -> None:
    figures.contact_sheet(*patches(70), path)


def draw_progress(path: Path) -> None:
    figures.progress_strip({step: patches(6, 64, step) for step in (40, 20, 80)}, path)


def draw_curves(path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": str(step), "critic_distance": str(9.0 - step / 100), "probe_dsc": ""} for step in range(10, 601, 10)
    ]
    curves = {model: [*rows, {"step": 450, "probe_dsc": 0.5}, {"step": 600, "probe_dsc": 0.6}] for model in MODELS}
    figures.curves_figure(curves, LOOK, path)


def draw_scores(path: Path) -> None:
    tables = {name: scores(level) for name, level in zip(("real", *MODELS, "threshold"), (0.8, 0.6, 0.7, 0.75, 0.65, 0.5), strict=True)}
    evaluation = {name: point(rows[0].dsc) for name, rows in tables.items()}
    figures.scores_figure(tables, evaluation, LOOK, path)


def draw_transfer(path: Path) -> None:
    starts = ("scratch", "real", *MODELS)
    points = {start: {"1": point(0.5 + 0.04 * n), "12": point(0.6 + 0.04 * n)} for n, start in enumerate(starts)}
    figures.transfer_figure({"site-b": points, "site-c": points}, LOOK, path)


def draw_worth(path: Path) -> None:
    curve = {count: point(dsc) | {"n_subsets": 1} for count, dsc in (("1", 0.6), ("3", 0.8), ("8", 0.9))}
    sets = {name: {"patients": 1.5 + n, "patients_low": 1.0, "patients_high": 8.0} for n, name in enumerate(MODELS)}
    evaluation = {name: point(0.65 + 0.07 * n) for n, name in enumerate(MODELS)}
    joint = {count: point(dsc) for count, dsc in (("1", 0.7), ("3", 0.85))}
    figures.worth_figure({"curve": curve, "sets": sets, "together": {MODELS[0]: joint}}, evaluation, LOOK, path)


def draw_patient(path: Path) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (60, 80, 40)).astype(np.float32)
    brain, truth, prediction = (np.zeros(image.shape, bool) for _ in range(3))
    brain[5:55, 5:75, 5:35] = True
    truth[20:30, 10:50, 10:20] = True
    prediction[20:30, 30:70, 10:20] = True
    projections.patient_figure(Scan("sub-01", image, brain, truth, (0.8, 0.8, 1.2), path), prediction, "sub-01", path)


DRAWN: list[Callable[[Path], None]] = [
    *(draw_pairs, draw_contact, draw_progress, draw_curves, draw_scores, draw_transfer, draw_worth, draw_patient),
]


@pytest.fixture(scope="module")
def figure_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None]], Path]:
    """Draws each figure once."""
    folder = tmp_path_factory.mktemp("figures")

    def drawn(draw: Callable[[Path], None]) -> Path:
        path: Path = folder / f"{draw.__name__}.png"
        if not path.exists():
            draw(path)
        return path

    return drawn


@pytest.mark.parametrize("draw", DRAWN)
def test_small_without_metadata_and_the_same_every_time(
    draw: Callable[[Path], None], figure_of: Callable[[Callable[[Path], None]], Path], tmp_path: Path
) -> None:
    first, second = figure_of(draw), tmp_path / "second.png"
    draw(second)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert len(content) < 200_000
    with Image.open(first) as picture:
        assert picture.format == "PNG"
        assert not set(picture.info) & {"Software", "Creation Time", "Author", "date"}
        assert 600 <= picture.width <= 1700
    assert (pixels(first)[0, 0] == 255).all()  # paper is white, not nearly


@pytest.mark.parametrize("draw", [draw_curves, draw_transfer])
def test_each_model_has_its_colour(draw: Callable[[Path], None], figure_of: Callable[[Callable[[Path], None]], Path]) -> None:
    assert all(count(figure_of(draw), LOOK.colour(model)) > 50 for model in MODELS)


def test_the_line_without_pre_training_is_the_heaviest(tmp_path: Path) -> None:
    thickness = {}
    for start in ("scratch", "dcgan"):
        path = tmp_path / f"{start}.png"
        figures.transfer_figure({"site-b": {start: {"1": point(0.5), "4": point(0.5), "8": point(0.5)}}}, LOOK, path)
        coloured = (pixels(path)[:, 200:380] != 255).any(axis=2) & (np.ptp(pixels(path)[:, 200:380].astype(int), axis=2) > 60)
        down = coloured.sum(axis=0)
        thickness[start] = np.median(down[down > 0])
    assert thickness["scratch"] > 1.5 * thickness["dcgan"]


def test_gains_have_a_plot_of_their_own(tmp_path: Path) -> None:
    gain = {"dsc_gain": 0.05, "dsc_gain_low": 0.04, "dsc_gain_high": 0.06}
    coloured = {}
    for name, more in (("with", gain), ("without", {})):
        transfer = {"site-b": {"scratch": {"1": point(0.5)}, "dcgan": {"1": point(0.5) | more}}}
        figures.transfer_figure(transfer, LOOK, tmp_path / f"{name}.png")
        coloured[name] = count(tmp_path / f"{name}.png", LOOK.colour("dcgan"))
    assert coloured["with"] > coloured["without"] + 50


def test_a_seeds_mean_is_a_dash_and_a_patients_dot_is_over_seeds(tmp_path: Path) -> None:
    rows = scores(0.5)
    tables = {
        "one": rows,
        "alike": [dataclasses.replace(row, seed=seed) for row in rows for seed in (1, 2)],
        "apart": [dataclasses.replace(row, seed=seed, dsc=row.dsc + gap) for row in rows for seed, gap in ((1, -0.2), (2, 0.2))],
    }
    marks = {}
    for name, table in tables.items():
        figures.scores_figure({"dcgan": table}, {"dcgan": {"dsc": 0.53, "hd95_mm": 4.0}}, LOOK, tmp_path / f"{name}.png")
        coloured = np.ptp(pixels(tmp_path / f"{name}.png").astype(int), axis=2) > 30
        marks[name] = [ndimage.label(part)[1] for part in (coloured[:, :506], coloured[:, 506:])]  # DSC, 95HD
    # Four patients and their mean; then the seeds' means, which in 95HD are the same.
    assert marks == {"one": [5, 5], "alike": [6, 6], "apart": [7, 6]}


@pytest.mark.parametrize("size", [16, 64, 96])
def test_every_label_is_outlined_at_twice_its_size(size: int, tmp_path: Path) -> None:
    figures.pairs_figure(*patches(1, size), {"dcgan": patches(3, size)}, LOOK, tmp_path / "pairs.png")
    bar = 2 * (size // 2 - size // 4), 2 * (size // 2 - size // 3)  # two pairs are shown: the smallest number in a row is one
    assert count(tmp_path / "pairs.png", VESSEL) == 2 * 2 * sum(bar)


def test_floats_and_levels_look_alike(tmp_path: Path) -> None:
    image, label = patches(3)
    figures.contact_sheet(image, label, tmp_path / "levels.png")
    figures.contact_sheet((image / 127.5 - 1).astype(np.float32), label.astype(np.float32), tmp_path / "floats.png")
    difference = pixels(tmp_path / "levels.png").astype(int) - pixels(tmp_path / "floats.png")
    assert np.abs(difference).max() <= 8


def test_errors_have_their_colours(tmp_path: Path) -> None:
    nothing = np.zeros((40, 40, 40), bool)
    left, right = nothing.copy(), nothing.copy()
    left[5:15, 5:35, 5:35], right[25:35, 5:35, 5:35] = True, True
    image = np.full((40, 40, 40), -1, np.float32)
    shares: dict[str, list[bool]] = {}
    for name, truth, prediction in (("both", left, left), ("missed", left, nothing), ("extra", nothing, right)):
        scan = Scan("sub-01", image, ~nothing, truth, (1.0, 1.0, 1.0), tmp_path)
        projections.patient_figure(scan, prediction, name, tmp_path / "p.png")
        shares[name] = [count(tmp_path / "p.png", colour) > 5000 for colour in (MISSED, EXTRA)]
    assert shares == {"both": [False, False], "missed": [True, False], "extra": [False, True]}
    shown = projections._errors(left, left, 2)
    assert (shown[10, 10] == rgb(HIT)).all()
    assert (shown[30, 10] == 0).all()


def test_a_rim_of_one_voxel_does_not_hide_the_vessel() -> None:
    truth = np.zeros((20, 20, 20), bool)
    truth[5:15, 5:15, 5:15] = True
    prediction = truth.copy()
    prediction[:, :, 15] = truth[:, :, 14]
    assert (projections._errors(truth, prediction, 2)[10, 10] == rgb(HIT)).all()


def test_up_is_the_front_and_left_is_left(tmp_path: Path) -> None:
    label = np.zeros((1, 64, 64), np.uint8)
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, :20, 50:] = 255  # small x, great y: left and front
    figures.contact_sheet(image, label, tmp_path / "one.png")
    shown = pixels(tmp_path / "one.png")[..., 0]
    inner = shown[5:-5, 5:133]
    assert inner[10, 10] == 255
    assert inner[-10, 10] == inner[10, -10] == 0


@pytest.mark.parametrize(
    "transfer",
    [
        {},
        {"site-b": {}},
        {"site-b": {"scratch": {}}},
        {"site-b": {"scratch": {"1": point(0.5)}}},
        {"site-b": {"scratch": {"1": point(0.5)}, "own": {"2": point(0.6)}}},
        {"site-b": {"scratch": {"1": point(0.5)}}, "site-c": {}, "site-d": {"real": {"12": point(0.6)}}},
    ],
)
def test_few_or_no_points_still_make_a_figure(transfer: dict[str, Any], tmp_path: Path) -> None:
    figures.transfer_figure(transfer, LOOK, tmp_path / "transfer.png")
    assert np.ptp(pixels(tmp_path / "transfer.png")) > 100


def test_bad_input_is_named(tmp_path: Path) -> None:
    image, label = patches(3)
    with pytest.raises(InputError, match="dcgan"):
        figures.pairs_figure(image, label, {"dcgan": (image, label[:2])}, LOOK, tmp_path / "p.png")
    with pytest.raises(InputError, match="not pairs"):
        figures.contact_sheet(image[:0], label[:0], tmp_path / "p.png")
    mask = np.zeros((4, 4, 4), bool)
    scan = Scan("sub-01", np.zeros((4, 4, 5), np.float32), mask, mask, (1.0, 1.0, 1.0), tmp_path)
    with pytest.raises(InputError, match="differ in shape"):
        projections.patient_figure(scan, mask, "sub-01", tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_order_of_starts_is_that_of_params_yaml() -> None:
    starts = ["scratch", "wgan-gp-sn", "own", "real", "dcgan"]
    assert LOOK.ordered(starts) == ["own", "real", "dcgan", "wgan-gp-sn", "scratch"]
    assert Look(("wgan-gp-sn", "dcgan")).ordered(starts) == ["own", "real", "wgan-gp-sn", "dcgan", "scratch"]


@pytest.mark.parametrize("number", [1, 3, 8, 9, 17, 40])
def test_any_number_of_generators_is_distinguished(number: int) -> None:
    """By colour as long as the palette lasts, then by colour and marker together; never like real, the threshold or from scratch."""
    names = tuple(f"generator-{place}" for place in range(number))
    look = Look(names)
    marks = {(look.colour(name), look.marker(name)) for name in names}
    assert len(marks) == number
    assert len({look.colour(name) for name in names}) == min(number, len(PALETTE))
    fixed = {colour for colour, _ in FIXED.values()}
    assert not {colour for colour, _ in marks} & {*fixed, OTHER}
    assert not {"o", "X"} & set(SIGNS)
    assert {look.colour(name) for name in FIXED} == fixed


def test_sites_stand_below_each_other(tmp_path: Path) -> None:
    heights = []
    for sites in (("site-b",), ("site-b", "site-c")):
        figures.transfer_figure({site: {"scratch": {"1": point(0.5)}} for site in sites}, LOOK, tmp_path / "transfer.png")
        heights.append(len(pixels(tmp_path / "transfer.png")))
    assert heights == pytest.approx([heights[0], 2 * heights[0]], abs=2)


def test_importing_the_report_imports_no_matplotlib() -> None:
    code = "import sys, angiosynth.report.figures, angiosynth.report.page; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
