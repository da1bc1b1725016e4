"""Recognise, by file names, labels of public datasets that do not mark all vessels of the brain.

A network trained on such a label would learn that all unmarked vessels are background. docs/datasets.md has the sources of the names.
"""

from __future__ import annotations

import re
from pathlib import Path

NO_VESSEL_LABELS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"/cow_seg_labels\w*/|/topcow_(mr|ct)_\d+\.", re.IGNORECASE),
        "is a label of TopCoW, which marks the circle of Willis alone: all other vessels would be learnt as background",
    ),
    (re.compile(r"/([^/]*_)?aneurysms\.(nii|mha|nrrd)", re.IGNORECASE), "marks aneurysms, as in the ADAM set, and no vessel"),
    (
        re.compile(r"/manual_masks/|_desc-lesion_\d+_mask\.", re.IGNORECASE),
        "marks aneurysms, as in the Lausanne set, and no vessel",
    ),
)
CURE = "leave out --vessels: such scans can be segmented"
LEAST_FRACTION = 0.001  # fraction of the brain; arteries are about 0.01


def no_vessel_label(path: Path) -> str:
    """Explain why a file with this name is not a label of all vessels, with a remedy; "" for other names."""
    place = f"/{path.absolute().as_posix()}"
    return next((f"{reason}; {CURE}" for names, reason in NO_VESSEL_LABELS if names.search(place)), "")


def small_label_note(share: float) -> str:
    """Return a note on a label that is a much smaller fraction of the brain than arteries are; "" for others."""
    if share >= LEAST_FRACTION:
        return ""
    return f"vessels: the label is {share:.3%} of the brain, arteries are about 1%; does it mark all of them, or a part, or aneurysms?"
