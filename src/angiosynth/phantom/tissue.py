"""Tissue signals of a head on a voxel grid, without vessels."""

from __future__ import annotations

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.phantom.head import (
    AIR,
    BONE,
    CSF,
    EYE,
    FAT,
    GREY,
    MARROW,
    MUSCLE,
    SKIN,
    SKULL_MM,
    WHITE,
    Coordinates,
    Field,
    HeadShape,
    ramp,
    smooth_noise,
)

GYRUS_MM = 11.0  # scale of the cortical folding
MASK_RIM_MM = 0.9  # distance by which the brain mask extends beyond the brain


def draw_tissue(head: HeadShape, at: Coordinates, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> tuple[Field, Mask]:
    """Compute the signal (x, y, z) relative to white matter, and the brain mask (x, y, z).

    Args:
        head: shape of the head.
        at: head coordinates x, y, z in mm of each voxel.
        spacing_mm: voxel size.
        rng: draws all random fields.
    """
    x, y, z = at
    shape = (x.shape[0], x.shape[1], x.shape[2])
    bumps = smooth_noise(shape, spacing_mm, 22.0, rng)
    folds = smooth_noise(shape, spacing_mm, GYRUS_MM, rng)
    patches = smooth_noise(shape, spacing_mm, 5.0, rng)
    radius = np.float32(np.mean(head.half_mm))
    depth = (1 - head.rho(x, y, z).astype(np.float32)) * radius + bumps * np.float32(0.9)
    above = z - head.base_mm(x[:, :, :1], y[:, :, :1]).astype(np.float32) - bumps * 2
    inside = np.minimum(depth, above)
    # Like manually drawn masks, the mask includes some of the fluid around the brain and of the inner skull.
    brain = inside > -np.float32(MASK_RIM_MM)
    signal = np.where(inside > 0, _brain(head, at, inside, depth, folds, patches), _outside(head, at, depth, above, patches, folds))
    return signal.astype(np.float32), brain


def _brain(head: HeadShape, at: Coordinates, inside: Field, depth: Field, folds: Field, patches: Field) -> Field:
    """Signal of white and grey matter, sulci, fissures, ventricles with choroid plexus, and bright spots of dura at the rim."""
    x, y, z = at
    # Sulci: the zero set of a smooth random field winds like them. The field divided by its typical slope approximates the distance in mm.
    sheet = np.abs(folds) * np.float32(GYRUS_MM / 1.3) + np.maximum(depth - 14, 0) * np.float32(0.6)
    midline = np.abs(x + patches * np.float32(0.5)) + np.maximum(depth - 24, 0) * np.float32(0.4)
    level = np.float32(4) + np.float32(0.15) * (np.abs(x) - 35) - np.float32(0.35) * y + folds * 2
    sylvian = np.maximum(np.abs(z - level), np.maximum(np.float32(36) - np.abs(x), np.abs(y + 4) - 26))
    groove = np.minimum(np.minimum(sheet, midline), np.minimum(sylvian, np.maximum(inside - np.float32(0.8), 0)))
    # grey matter lines the grooves, fluid fills them
    signal = np.float32(GREY) + np.float32(WHITE - GREY) * ramp(groove, 2.2, 3.6)
    signal += patches * np.float32(0.03) + folds * np.float32(0.02)
    signal -= (signal - np.float32(CSF)) * (1 - ramp(groove, 0.35, 1.1)) * np.float32(0.85)
    # ventricles with choroid plexus
    deep = inside > 18  # all ventricles lie deeper than this, in mm
    chamber = np.full(x.shape, 9, np.float32)
    chamber[deep] = _ventricles(head, (x[deep], y[deep], z[deep])) + patches[deep]
    signal += (np.float32(CSF - 0.03) - signal) * ramp(-chamber, -0.5, 0.5)
    plexus = ramp(patches, 0.5, 1.0) * ramp(-chamber, 1.5, 2.5) * ((y < -8) & (y > -55)).astype(np.float32)
    signal += plexus * np.float32(0.65)
    dura = ramp(np.abs(folds - 1) * -4 + patches, 0.6, 1.4) * (1 - ramp(inside, 1.0, 2.2))
    return np.asarray(signal + dura * np.float32(0.8), np.float32)


def _ventricles(head: HeadShape, at: Coordinates) -> Field:
    """Approximate signed distance in mm to the ventricles, negative inside."""
    x, y, z = (coordinate / np.float32(head.scale) for coordinate in at)
    side = np.abs(x)
    # Anterior horns converge backwards, bodies arch over the thalami, posterior horns diverge.
    middle = np.float32(4) + np.float32(0.008) * (y + 8) ** 2
    arch = np.float32(25) - np.float32(0.0075) * (y + 10) ** 2
    tube = np.sqrt(((side - middle) / np.float32(0.62)) ** 2 + ((z - arch) / np.float32(1.4)) ** 2)
    width = np.float32(7) * np.sqrt(np.maximum(1 - ((y + 12) / np.float32(46)) ** 2, 0))
    slit = np.maximum(side - np.float32(1.2), np.maximum(np.abs(y + 12) - 11, np.abs(z - 8) - 9))
    return np.asarray(np.minimum(tube - width, slit), np.float32)


def _outside(head: HeadShape, at: Coordinates, depth: Field, above: Field, patches: Field, folds: Field) -> Field:
    """Signal of dura, bone with marrow, fat, skin and air around the brain, and of eyes, bone, air cells and muscle below it."""
    # The fluid layer decreases gradually towards the bone, so that voxels at the rim of the mask differ in value.
    shell = np.float32(BONE) + np.float32(CSF - BONE) * (1 - ramp(-depth, -0.4, 1.4))
    marrow = ramp(-depth, 2.0, 3.0) * (1 - ramp(-depth, 4.2, 5.2)) * ramp(patches, -1.0, 0.5)
    shell += marrow * np.float32(MARROW - BONE)
    shell += ramp(-depth, 5.8, 6.4) * np.float32(FAT - BONE) * (1 + patches * np.float32(0.12))
    shell += ramp(-depth, 8.4, 8.9) * np.float32(SKIN - FAT)
    below = np.float32(BONE) + ramp(folds, 0.3, 0.9) * np.float32(MUSCLE - BONE) + ramp(patches - folds, 1.3, 2.0) * np.float32(FAT - BONE)
    below -= ramp(-folds, 0.8, 1.2) * np.float32(BONE - AIR)
    x, y, z = at
    eye = np.sqrt((np.abs(x) - 32) ** 2 + (y - np.float32(50 * head.scale)) ** 2 + (z + 22) ** 2)
    below += (np.float32(FAT) - below) * (1 - ramp(eye, 15.0, 17.0))
    below += (np.float32(EYE) - below) * (1 - ramp(eye, 11.5, 12.5))
    signal = np.where((above < 0) & (depth > -6), below, shell)
    return np.asarray(np.where(depth < -np.float32(SKULL_MM), np.float32(AIR), signal), np.float32)
