"""Figures: functions from arrays and tables to one PNG file each. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import from_levels
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import SCRATCH, PatientScore
from angiosynth.evaluation.summary import ScoreTable
from angiosynth.report.style import DPI, VESSEL, Look, drawn, name_of, rgb, show_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Patches = NDArray[Any]  # (n, x, y): images as float in [-1, 1] or levels 0..255, labels as 0 and 1
Rows = Sequence[Mapping[str, Any]]
ASIDE, ABOVE = 136, 34  # pixels for the names of rows and for the heading
LETTER = 12  # pixels that a letter of a name needs at most, but for capitals
WIDE = 1100  # pixels for a row of pairs
MOST = 100  # maximum number of pairs on a contact sheet
SHEET = 32  # number of pairs on the contact sheets of stages
LEVEL = 5  # maximum number of horizontal axis labels without overlap
BESIDE = 1.02  # factor of the number of patients between neighbouring curves


def pairs_figure(
    image: Patches, label: Patches, synthetic: Mapping[str, tuple[Patches, Patches]], look: Look, path: Path, columns: int = 4
) -> None:
    """Draw a row of real pairs and a row of pairs for each generator; each pair is shown as the image, without and with its label.

    Args:
        image: real patches (n, x, y), float in [-1, 1] or uint8 levels.
        label: labels (n, x, y), 0 or 1.
        synthetic: model -> (image, label), in the same form.
        look: colours of the report.
        path: the PNG file.
        columns: maximum number of pairs in a row.

    Raises:
        InputError: image and label differ in shape, or there are no patches.
    """
    rows = {"real": (image, label), **synthetic}
    pairs = {name: _pairs(*pair, name) for name, pair in rows.items()}
    columns = min(columns, max(2, WIDE // pairs["real"].shape[1]), *(len(row) for row in pairs.values()))
    strips, aside = [_strip(row[:columns]) for row in pairs.values()], max(ASIDE, LETTER * max(len(name_of(name)) for name in rows))
    with drawn(path, (aside + len(strips[0])) / DPI, (ABOVE + sum(strip.shape[1] for strip in strips)) / DPI) as figure:
        axes = _sheet(figure, strips, aside)
        middles = np.cumsum([strip.shape[1] for strip in reversed(strips)])[::-1] - strips[0].shape[1] / 2
        for name, middle in zip(rows, middles, strict=True):
            axes.text(-8, middle, name_of(name), ha="right", va="center", color=look.colour(name), weight="bold", fontsize=11)
        axes.set_title("each pair: the image, and the same with its label outlined", color="#555555", x=0.005)


def contact_sheet(image: Patches, label: Patches, path: Path) -> None:
    """Draw the first pairs of a set, as many as fit one sheet, for inspection. Arguments and errors as in `pairs_figure`."""
    pairs = _pairs(image[:MOST], label[:MOST], str(path))
    columns = min(max(1, 1600 // pairs.shape[1]), len(pairs))
    pairs = pairs[: columns * max(1, 850 // pairs.shape[2])]
    blank = np.ones((-len(pairs) % columns, *pairs.shape[1:]), np.float32)
    strips = [_strip(row) for row in np.split(np.concatenate([pairs, blank]), (len(pairs) + len(blank)) // columns)]
    with drawn(path, len(strips[0]) / DPI, sum(strip.shape[1] for strip in strips) / DPI) as figure:
        _sheet(figure, strips, 0)


def progress_strip(watched: Mapping[int, tuple[Patches, Patches]], path: Path) -> None:
    """Draw the pairs of the same latents at several steps of a training, one row per step, first step at the top.

    Args:
        watched: step -> (image, label), as in `pairs_figure`.
        path: the PNG file.
    """
    rows = {step: _pairs(*pair, f"step {step}") for step, pair in sorted(watched.items())}
    first = next(iter(rows.values()))
    columns = min(len(first), max(1, WIDE // first.shape[1]))
    strips = [_strip(row[:columns]) for row in rows.values()]
    with drawn(path, (ASIDE + len(strips[0])) / DPI, sum(strip.shape[1] for strip in strips) / DPI) as figure:
        axes = _sheet(figure, strips, ASIDE)
        for row, step in enumerate(reversed(rows)):
            axes.text(-8, (row + 0.5) * strips[0].shape[1], f"step {step:,}", ha="right", va="center", fontsize=11)


def _sheet(figure: Figure, strips: Sequence[NDArray[np.float32]], aside: int) -> Axes:
    """Stack strips vertically, with voxels on whole pixels, which keeps them sharp and files small; `aside` pixels are free on the left."""
    figure.set_layout_engine("none")
    picture = np.concatenate(strips[::-1], axis=1)  # y points up, so the first row comes last
    width, height = figure.get_size_inches() * DPI
    axes = figure.add_axes((aside / width, 0, picture.shape[0] / width, picture.shape[1] / height))
    show_picture(axes, picture)
    return axes


def curves_figure(curves: Mapping[str, Rows], look: Look, path: Path) -> None:
    """Draw the training curves of generators: critic distance between real and synthetic (left), probe DSC on validation patients (right).

    Args:
        curves: model -> rows of curve.csv with "step" and optionally "critic_distance" or "probe_dsc".
        look: colours of the report.
        path: the PNG file.
    """
    with drawn(path, 9.2, 3.4) as figure:
        left, right = figure.subplots(1, 2, sharex=True)
        for model, rows in curves.items():
            steps, distance = _column(rows, "critic_distance")
            if len(steps):
                peak = float(np.abs(distance).max()) or 1.0
                left.plot(steps, distance / peak, color=look.colour(model), lw=1.6, label=name_of(model))
            steps, probe = _column(rows, "probe_dsc")
            right.plot(steps, probe, color=look.colour(model), lw=1.6, marker=look.marker(model), ms=6, label=name_of(model))
        left.set(title="critic's distance, real to synthetic", xlabel="generator step", ylabel="share of its greatest value")
        right.set(title="probe: DSC on validation patients", xlabel="generator step", ylabel="DSC")
        right.margins(x=0.08, y=0.2)
        right.legend(loc="best")


def scores_figure(tables: Mapping[str, Sequence[PatientScore]], evaluation: Mapping[str, Any], look: Look, path: Path) -> None:
    """Draw DSC and 95HD on test patients for each training set: a dot per patient, a dash per seed, the mean with its 95% interval.

    Args:
        tables: training set -> patient table. Dots are means over seeds; dashes, means over patients, are drawn for several seeds.
        evaluation: content of metrics/evaluation.json, for means and intervals.
        look: colours of the report.
        path: the PNG file.
    """
    laid = {name: ScoreTable(rows, "seed", path) for name, rows in tables.items()}
    with drawn(path, 9.2, 3.6) as figure:
        for axes, key, title in zip(
            figure.subplots(1, 2), ("dsc", "hd95_mm"), ("DSC (more is better)", "95HD in mm (less is better)"), strict=True
        ):
            for place, (name, scores) in enumerate(laid.items()):
                values, seeds = scores(key).mean(axis=0), scores(key).mean(axis=1)
                spread = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(1)
                axes.scatter(place + spread - 0.12, values, s=18, color=look.colour(name), alpha=0.55, lw=0)
                if len(seeds) > 1:
                    axes.scatter(np.full(len(seeds), place + 0.38), seeds, s=60, color=look.colour(name), marker="_", lw=1.6)
                _mean_with_interval(axes, place + 0.22, evaluation[name], key, name, look)
            axes.set_xticks(range(len(tables)), [name_of(name) for name in tables], fontsize=9)
            if len(tables) > LEVEL:
                axes.tick_params(axis="x", labelrotation=20)
            axes.set_xlim(-0.6, len(tables) - 0.4)
            axes.set_title(title)


def transfer_figure(transfer: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], look: Look, path: Path) -> None:
    """Draw DSC (left) and gain by pre-training (right) against the number of training patients, a row per site and a line per start.

    Args:
        transfer: content of metrics/transfer.json; if it is empty the figure states that. The line from scratch is drawn thicker.
        look: colours of the report.
        path: the PNG file.
    """
    with drawn(path, 10.4, 3.9 * max(1, len(transfer))) as figure:
        rows = figure.subplots(max(1, len(transfer)), 2, squeeze=False)
        for (left, right), (site, starts) in zip(rows, transfer.items(), strict=False):
            _transfer_row(left, right, site, starts, look)
        if not transfer:
            rows[0, 0].text(0.5, 0.5, "no other site, so nothing was transferred", transform=rows[0, 0].transAxes, ha="center")
            rows[0, 1].set_axis_off()
        else:
            figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")


def _transfer_row(left: Axes, right: Axes, site: str, transfer: Mapping[str, Mapping[str, Mapping[str, float]]], look: Look) -> None:
    starts = look.ordered(start for start in transfer if transfer[start])
    counts = sorted({int(count) for start in starts for count in transfer[start]})
    left.set(title=f"DSC on test patients of {site}", xlabel=f"training patients of {site}")
    right.set(title="gain over no pre-training, paired", xlabel=f"training patients of {site}")
    right.axhline(0.0, color=look.colour("scratch"), lw=3.0, ls="--")
    for rank, start in enumerate(starts):
        # Points are shifted slightly sideways, so that intervals do not overlap.
        shift = (rank - (len(starts) - 1) / 2) * 0.07
        points = {counts.index(int(count)) + shift: point for count, point in transfer[start].items()}
        _line(left, points, "dsc", start, look)
        _line(right, {place: point for place, point in points.items() if "dsc_gain" in point}, "dsc_gain", start, look)
    for axes in (left, right):
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_xlim(-0.5, max(len(counts), 1) - 0.5)
        axes.margins(y=0.12)


def worth_figure(worth: Mapping[str, Any], evaluation: Mapping[str, Any], look: Look, path: Path) -> None:
    """Draw the learning curve of DSC over the number of real patients, and the DSC of each generator as a horizontal line.

    Where sets were joined with the patches of few patients, each generator also has a line over the number of these patients.

    Args:
        worth: content of metrics/worth.json, not empty.
        evaluation: content of metrics/evaluation.json, for the DSC of generators.
        look: colours of the report.
        path: the PNG file.
    """
    counts = sorted(worth["curve"], key=int)
    with drawn(path, 7.2, 3.9) as figure:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        _curve(axes, {float(count): worth["curve"][count] for count in counts}, "real", "real patches", look)
        for number, name in enumerate(look.generators, start=1):
            axes.axhline(evaluation[name]["dsc"], color=look.colour(name), lw=1.4, ls="--", label=f"{name_of(name)} pairs")
            axes.plot(worth["sets"][name]["patients"], evaluation[name]["dsc"], color=look.colour(name), marker=look.marker(name), ms=8)
            joint = worth.get("together", {}).get(name, {})
            if joint:  # each a little to the right of the one before, so that intervals do not hide each other
                points = {int(count) * BESIDE**number: joint[count] for count in sorted(joint, key=int)}
                _curve(axes, points, name, f"{name_of(name)} pairs and real", look)
        axes.set_xticks([int(count) for count in counts], counts)
        axes.minorticks_off()
        axes.set(title="DSC on test patients", xlabel="real training patients")
        figure.legend(loc="outside right center")


def _curve(axes: Axes, points: Mapping[float, Mapping[str, float]], data: str, label: str, look: Look) -> None:
    """Draw DSC with intervals over numbers of patients."""
    axes.plot(list(points), [point["dsc"] for point in points.values()], color=look.colour(data), lw=1.6, label=label)
    for place, point in points.items():
        _mean_with_interval(axes, place, point, "dsc", data, look)


def _line(axes: Axes, points: Mapping[float, Mapping[str, float]], key: str, start: str, look: Look) -> None:
    """Draw the points of one start with their intervals, connected by a line."""
    heavy = start == SCRATCH
    places = sorted(points)
    axes.plot(
        places,
        [points[place][key] for place in places],
        color=look.colour(start),
        lw=3.0 if heavy else 1.6,
        ls="--" if heavy else "-",
        label="no pre-training" if heavy else f"pre-trained on {name_of(start)}",
        marker=look.marker(start),
        ms=7,
        zorder=3 if heavy else 2,
    )
    for place in places:
        _mean_with_interval(axes, place, points[place], key, start, look)


def _mean_with_interval(axes: Axes, place: float, scores: Mapping[str, float], key: str, name: str, look: Look) -> None:
    mean, low, high = scores[key], scores.get(f"{key}_low", scores[key]), scores.get(f"{key}_high", scores[key])
    axes.errorbar(
        [place],
        [mean],
        yerr=[[max(mean - low, 0)], [max(high - mean, 0)]],
        color=look.colour(name),
        fmt=look.marker(name),
        ms=7,
        lw=1.8,
        capsize=3,
        zorder=4,
    )


def _column(rows: Rows, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of the rows that have the key; empty CSV fields count as missing."""
    kept = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) not in (None, "")]
    return np.array([step for step, _ in kept]), np.array([value for _, value in kept])


def _pairs(image: Patches, label: Patches, name: str) -> NDArray[np.float32]:
    """Pictures (n, 2x + gap, y, rgb) of each image beside the same image with the outline of its label."""
    if image.shape != label.shape or image.ndim != 3 or len(image) == 0:
        raise InputError(f"{name}: images {image.shape} and labels {label.shape} are not pairs (n, x, y); make the patch set anew")
    grey = from_levels(image) if image.dtype == np.uint8 else np.asarray(image, np.float32)
    bare: NDArray[np.float32] = np.repeat(np.clip((grey + 1) / 2, 0, 1)[..., None], 3, axis=3)
    outlined = np.array([_outlined(picture, mask > 0.5) for picture, mask in zip(bare, label, strict=True)])
    return np.concatenate([_enlarged(bare), np.ones((len(bare), 2, 2 * bare.shape[2], 3), np.float32), outlined], axis=1)


def _enlarged(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enlarge pictures (n, x, y, rgb) by two without smoothing."""
    return pictures.repeat(2, axis=1).repeat(2, axis=2)


def _outlined(picture: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Enlarge a picture and draw the outline of a mask, half a voxel wide, outside the vessel so that it hides nothing."""
    large: NDArray[np.float32] = _enlarged(picture[None])[0]
    wide = mask.repeat(2, axis=0).repeat(2, axis=1)
    large[ndimage.binary_dilation(wide) & ~wide] = rgb(VESSEL)
    return large


def _strip(pairs: NDArray[np.float32], gap: int = 10) -> NDArray[np.float32]:
    """Join pictures (n, x, y, rgb) side by side with white borders."""
    padded = np.pad(pairs, ((0, 0), (gap // 2, gap // 2), (gap // 2, gap // 2), (0, 0)), constant_values=1)
    return np.concatenate(list(padded), axis=0)
