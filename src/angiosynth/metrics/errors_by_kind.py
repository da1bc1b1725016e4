"""A mask's errors by kind, where it is known what each voxel is: false positives by what lies there, misses by the vessel's calibre.

Voxels are counted, not millimetres. A vessel is thick where some voxel of it has all its six neighbours in it, which takes three voxels
across; such voxels are its core, those of the vessel that touch the core by a face, an edge or a corner are its wall; all others are thin.
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
    """Voxels of each kind of error, by the names of `KINDS`.

    A false voxel counts once, in the first of: "veins" (in the mask of veins and sinuses), "wall" (within one voxel of a true vessel,
    corners among them), "bright_tissue", "elsewhere". A missed voxel is "thin", "thick_wall" or "thick_core" by the true vessel.

    Args:
        truth, prediction: (x, y, z) bool.
        veins, bright: (x, y, z) bool, what looks like an artery and is none; voxels of them that are artery too are artery.

    Raises:
        InputError: a mask is not boolean, not three-dimensional, or of another shape.
    """
    masks = {"truth": truth, "prediction": prediction, "veins": veins, "bright": bright}
    for name, mask in masks.items():
        if mask.dtype != np.bool_ or mask.ndim != 3 or mask.shape != truth.shape:
            raise InputError(f"{name}: {mask.dtype} of shape {mask.shape}; give booleans (x, y, z) of the shape of truth, {truth.shape}")
    calibre = vessel_calibre(truth)
    false, missed = prediction & ~truth, truth & ~prediction
    near = binary_dilation(truth, CORNERS)
    places = (veins, near & ~veins, bright & ~near & ~veins, ~(bright | near | veins))
    counts = [np.count_nonzero(false & place) for place in places] + [np.count_nonzero(missed & calibre[name]) for name in MISSES]
    return dict(zip(KINDS, map(int, counts), strict=True))


def vessel_calibre(truth: Mask) -> dict[str, Mask]:
    """The true voxels (x, y, z) that are thin, wall and core of thick vessels; each true voxel is in one of them."""
    core = binary_erosion(truth, FACES)  # beyond the volume is no vessel
    wall = binary_dilation(core, CORNERS) & truth & ~core
    return {"thin": truth & ~core & ~wall, "thick_wall": wall, "thick_core": core}
