"""Count segmentation errors by kind, on phantoms, whose tissue is known: false positives by tissue, missed voxels by vessel calibre.

Counts are in voxels, not millimetres. A true voxel is *core* if all six face neighbours are true, which needs a vessel three voxels across.
It is *wall* if it is not core but touches a core voxel by a face, an edge or a corner. All other true voxels belong to *thin* vessels.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure

from angiosynth.arrays import Mask
from angiosynth.errors import InputError

FALSE_POSITIVES = ("veins", "wall", "bright_tissue", "elsewhere")
MISSES = ("thin", "thick_wall", "thick_core")
KINDS = (*FALSE_POSITIVES, *MISSES)
FACES, CORNERS = generate_binary_structure(3, 1), generate_binary_structure(3, 3)


def errors_by_kind(truth: Mask, prediction: Mask, veins: Mask, bright: Mask) -> dict[str, int]:
    """Count the voxels of each kind of error, by the names in `KINDS`.

    A false positive counts once, in the first that applies: "veins" (inside the mask of veins and sinuses), "wall" (within one voxel of a
    true vessel, diagonals included), "bright_tissue", "elsewhere". A missed voxel is "thin", "thick_wall" or "thick_core" by its calibre.

    Args:
        truth, prediction: (x, y, z) boolean.
        veins, bright: (x, y, z) boolean, tissue that looks like an artery. Where these overlap with `truth`, the voxel counts as artery.

    Raises:
        InputError: a mask is not boolean, not three-dimensional, or differs in shape from `truth`.
    """
    masks = {"truth": truth, "prediction": prediction, "veins": veins, "bright": bright}
    for name, mask in masks.items():
        if mask.dtype != np.bool_ or mask.ndim != 3 or mask.shape != truth.shape:
            raise InputError(f"{name}: {mask.dtype} of shape {mask.shape}; give booleans (x, y, z) of the shape of truth, {truth.shape}")
    calibre = vessel_calibre(truth)
    false, missed = prediction & ~truth, truth & ~prediction
    near = binary_dilation(truth, CORNERS)
    # Disjoint regions in the order of FALSE_POSITIVES: each excludes those before it.
    places = (veins, near & ~veins, bright & ~near & ~veins, ~(bright | near | veins))
    counts = [np.count_nonzero(false & place) for place in places] + [np.count_nonzero(missed & calibre[name]) for name in MISSES]
    return dict(zip(KINDS, map(int, counts), strict=True))


def vessel_calibre(truth: Mask) -> dict[str, Mask]:
    """Split the true voxels into masks (x, y, z) of thin vessels, and of wall and core of thick ones. Each voxel is in exactly one."""
    core = binary_erosion(truth, FACES)  # voxels beyond the border of the volume count as background
    wall = binary_dilation(core, CORNERS) & truth & ~core
    return {"thin": truth & ~core & ~wall, "thick_wall": wall, "thick_core": core}
