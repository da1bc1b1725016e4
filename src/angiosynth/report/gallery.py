"""Picture of an audit's closest pairs: synthetic patches, each above the training patient's patch that it matches. It is confidential."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import ImagePatches, from_levels
from angiosynth.privacy.copies import LABELS, CopyAudit
from angiosynth.privacy.copy_counts import CopyThreshold
from angiosynth.privacy.feature_copies import warped_levels
from angiosynth.privacy.label_copies import label_images
from angiosynth.privacy.memorisation import CopySearch
from angiosynth.privacy.nearest import SIDE
from angiosynth.report.style import drawn, show_picture

SHOWN = 10  # pairs of each search
# Key of audit.json -> title.
SPACE_TITLES = {
    "copies": "image",
    "copies_features": "features",
    "copies_learned": "learnt embedding",
    "copies_labels": "label",
    "copies_pairs": "image and label",
}
GAP = 0.1  # gap between patches as a fraction of their side


def gallery(copies: CopyAudit, path: Path) -> None:
    """Draw the closest pairs of each search for copies: the synthetic patch above the real one in its matched pose.

    Distinctive patches come first, since others, such as plain tissue or a single round vessel, are near to everybody's patches. The
    picture contains patients' patches.

    Args:
        copies: the searches for copies in the set.
        path: the PNG to write.
    """
    searches = copies.synthetic
    with drawn(path, 1.25 * SHOWN, 3.1 * len(searches) + 0.4) as figure:
        # One picture for each search instead of each patch, for which the layout would take half a minute.
        for axes, (space, search) in zip(figure.subplots(len(searches), 1, squeeze=False)[:, 0], searches.items(), strict=True):
            threshold = copies.thresholds[space]
            rows = _closest(search, threshold)
            near = search.near.select(rows)
            synthetic, real = copies.set.select(search.checked[rows]), copies.training.select(near.row)
            images, matched = (label_images(pairs.label) if space == LABELS else pairs.image for pairs in (synthetic, real))
            mosaic, side = _mosaic([images, warped_levels(matched, images, replace(near, row=np.arange(len(rows))))])
            show_picture(axes, mosaic)
            axes.set_title(f"by {SPACE_TITLES[space]}: synthetic above, REAL below, training patients", pad=18)
            passed = threshold.passed(search.training)
            for column, query in enumerate(search.checked[rows]):
                caption = f"{search.ratios[query]:.2f}{', a copy' if passed[query] else ''}"
                axes.text(column * side * (1 + GAP), mosaic.shape[1], caption, fontsize=8, va="bottom")
        figure.suptitle(
            "Closest pairs, with the ratio of distances to that patient and to others. For the house alone, never to be released."
        )


def _closest(search: CopySearch, threshold: CopyThreshold) -> NDArray[np.int64]:
    """Positions in `search.checked` of at most SHOWN queries with the smallest ratios, distinctive ones first."""
    common = ~threshold.distinctive(search.training)[search.checked]
    return np.lexsort((search.ratios[search.checked], common))[:SHOWN]


def _mosaic(rows: list[ImagePatches]) -> tuple[NDArray[np.floating[Any]], int]:
    """Arrange rows of patches (n, x, y) of levels as one grey picture with white gaps, the first row on top.

    Returns:
        The picture (x, y) in [0, 1], and the side of a patch in it.
    """
    shown = [[_reduced(from_levels(patch)) for patch in row] for row in rows]
    side = len(shown[0][0])
    step = round(side * (1 + GAP))
    picture = np.ones((SHOWN * step - (step - side), len(rows) * step - (step - side)))
    for height, row in enumerate(reversed(shown)):
        for column, patch in enumerate(row):
            picture[column * step : column * step + side, height * step : height * step + side] = patch
    return picture, side


def _reduced(patch: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Convert a patch (x, y) from [-1, 1] to grey values in [0, 1]; patches of more than 2 SIDE pixels a side are reduced to about SIDE."""
    factor = patch.shape[0] / SIDE
    grey = np.clip((patch + 1) / 2, 0, 1)
    return ndimage.zoom(grey, 1 / factor, order=1) if factor > 2 else grey
