"""Projections of a patient's vessels along the three axes, with the true proportions of the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import Image, Mask, SpacingMm
from angiosynth.data.intensity import Scan
from angiosynth.errors import InputError
from angiosynth.report.style import EXTRA, HIT, MISSED, VESSEL, drawn, rgb, show_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def patient_figure(scan: Scan, prediction: Mask, title: str, path: Path) -> None:
    """Draw a scan and its predicted vessels from above, from the front and from the side.

    The upper row shows maximum intensity projections. In the lower row each line of sight has the colour of the most frequent kind among
    its labelled or predicted voxels: true positive, false negative or false positive. A missed branch is visible, a rim of one voxel is
    not.

    Args:
        scan: a scan with a label; only the inside of the brain is shown, in the proportions of its spacing.
        prediction: predicted mask (x, y, z).
        title: title in one line.
        path: the PNG file.

    Raises:
        InputError: the shapes differ, or the scan has no label.
    """
    brain, truth = scan.brain, scan.truth
    if not scan.image.shape == brain.shape == truth.shape == prediction.shape:
        raise InputError(f"{title}: scan, brain, truth and prediction differ in shape; bring all to the scan's own grid")
    volumes = (np.where(brain, scan.image, np.float32(-1)), truth & brain, prediction & brain)
    image, truth, prediction = (_cropped(volume, brain) for volume in volumes)
    with _views(image, lambda along: _errors(truth, prediction, along), title, path, scan.spacing_mm) as figure:
        _legend(figure, {"vessel, found": HIT, "vessel, missed": MISSED, "found, but no vessel": EXTRA})


def segmented_figure(image: Image, brain: Mask, prediction: Mask, path: Path, spacing_mm: SpacingMm) -> None:
    """Draw a scan without a label from three sides: maximum intensity projections, and below them the same with coloured vessels.

    The figure contains no names. Raises InputError if the shapes differ.
    """
    if not image.shape == brain.shape == prediction.shape:
        raise InputError(f"{path}: scan, brain and prediction differ in shape; bring all to the scan's own grid")
    image, prediction = (_cropped(volume, brain) for volume in (np.where(brain, image, np.float32(-1)), prediction & brain))
    title = f"{np.count_nonzero(prediction) * np.prod(spacing_mm) / 1000:.1f} ml of vessels found"
    with _views(image, lambda along: _tinted(image, prediction, along), title, path, spacing_mm) as figure:
        _legend(figure, {"vessel, found": VESSEL})


@contextmanager
def _views(image: Image, below: Callable[[int], NDArray[Any]], title: str, path: Path, spacing_mm: SpacingMm) -> Iterator[Figure]:
    """Figure with two rows of three projections: maximum intensities, and pictures that `below` returns for an axis."""
    sizes = np.array(image.shape) * np.array(spacing_mm)
    views = {"from above": (2, 0, 1), "from the front": (1, 0, 2), "from the side": (0, 1, 2)}
    widths = [float(sizes[across]) for _, across, _ in views.values()]
    tallest = max(float(sizes[up]) for _, _, up in views.values())
    with drawn(path, 9.2, 0.9 + 2 * 9.0 * tallest / sum(widths)) as figure:
        grid = figure.subplots(2, 3, squeeze=False, gridspec_kw={"width_ratios": widths})
        for column, (view, (along, across, up)) in enumerate(views.items()):
            aspect = spacing_mm[up] / spacing_mm[across]
            show_picture(grid[0, column], (image.max(axis=along) + 1) / 2, aspect)
            show_picture(grid[1, column], below(along), aspect)
            grid[0, column].set_title(view, fontsize=10)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        yield figure


def _legend(figure: Figure, names: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor="#333333", lw=0.6, label=name) for name, colour in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names))


def _tinted(image: Image, prediction: Mask, along: int) -> NDArray[np.float32]:
    """Projection (x, y, rgb) in grey, coloured on lines of sight with a vessel."""
    grey = np.clip((image.max(axis=along) + 1) / 2, 0, 1)[..., None]
    picture: NDArray[np.float32] = np.where(np.asarray(prediction.any(axis=along))[..., None], rgb(VESSEL) * (0.5 + 0.5 * grey), 0.8 * grey)
    return picture.astype(np.float32)


def _errors(truth: Mask, prediction: Mask, along: int) -> NDArray[np.float32]:
    """Colours (x, y, rgb) of the most frequent kind of voxel on each line of sight; black without vessel and prediction."""
    kinds = [truth & prediction, truth & ~prediction, ~truth & prediction]
    counts = np.stack([kind.sum(axis=along) for kind in kinds])
    colours = np.stack([rgb(colour) for colour in (HIT, MISSED, EXTRA)])
    picture: NDArray[np.float32] = np.where((counts.max(axis=0) > 0)[..., None], colours[counts.argmax(axis=0)], np.float32(0))
    return picture


def _cropped(volume: NDArray[Any], brain: Mask) -> NDArray[Any]:
    """Crop a volume to the bounding box of the brain; an empty brain leaves it unchanged."""
    boxes = ndimage.find_objects(brain.astype(np.uint8))
    return volume[boxes[0]] if boxes else volume
