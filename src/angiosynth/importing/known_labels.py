"""Labels of public data sets that mark something else than all vessels of the brain, recognised by the names that their sets give them.

Learnt from, such a label would teach that every vessel which it leaves out is background. Sources of the names are in docs/datasets.md.
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
LEAST_USUAL = 0.001  # of the brain; arteries are about a hundredth


def no_vessel_label(path: Path) -> str:
    """Why a file of this name is no label of all vessels and what to do, "" for any other name."""
    place = f"/{path.absolute().as_posix()}"
    return next((f"{reason}; {CURE}" for names, reason in NO_VESSEL_LABELS if names.search(place)), "")


def small_label_note(share: float) -> str:
    """A note on a label that is much smaller, as a share of the brain, than arteries are; "" for others."""
    if share >= LEAST_USUAL:
        return ""
    return f"vessels: the label is {share:.3%} of the brain, arteries are about 1%; does it mark all of them, or a part, or aneurysms?"
