"""A head that is drawn once and scanned by any number of scanners: drawing takes seconds, a scan tenths of a second.

`drawing.generate_patient` draws a patient for one scanner. Here arteries store the slowness of their blood instead of its signal, which
depends on the scanner. The signal is then computed for each voxel instead of each point of the tree; the difference is below the noise.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.phantom.head import Field, draw_shape
from angiosynth.phantom.lesions import diseased
from angiosynth.phantom.pose import draw_pose, grid_affine, head_coordinates
from angiosynth.phantom.scanning import Scanner, add_vessels, inflow, scan, slowness
from angiosynth.phantom.tissue import draw_tissue
from angiosynth.phantom.tubes import Drawn, draw, join
from angiosynth.phantom.veins import draw_cortical_veins, draw_scalp_arteries, draw_sinuses
from angiosynth.phantom.vessel_tree import grow_tree

STREAM = zlib.crc32(b"anatomy")  # random stream; the heads differ from those of all sites with the same seed


class Contrasts(Scanner, Protocol):
    """Settings of a scanner, including those that affect the signals of an anatomy."""

    @property
    def saturation(self) -> float: ...
    @property
    def vessel_contrast(self) -> float: ...
    @property
    def tissue_contrast(self) -> float: ...
    @property
    def vein_contrast(self) -> float: ...


@dataclass(frozen=True)
class Anatomy:
    """A head on a grid.

    Attributes:
        tissue: (x, y, z) signal relative to white matter, without vessels.
        brain: (x, y, z) mask.
        arteries: voxels of arteries; their `signal` is the slowness of the blood.
        veins: voxels of veins and scalp arteries; their `signal` is relative to that of unsaturated blood.
        spacing_mm: voxel size of the grid.
    """

    tissue: Field
    brain: Mask
    arteries: Drawn
    veins: Drawn
    spacing_mm: SpacingMm

    def vessel_fraction(self) -> Field:
        """Return the fraction (x, y, z) of each brain voxel that is artery. Voxels with at least one half are labelled."""
        fraction = np.zeros(self.tissue.shape, np.float32)
        fraction.reshape(-1)[self.arteries.voxels] = self.arteries.fraction
        fraction[~self.brain] = 0
        return fraction

    def scanned(self, scanner: Contrasts, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Simulate the image (x, y, z) of one scanner; coil profile, slab steps and noise are drawn from `rng`."""
        # Relative height of each artery voxel in its slab: z is the last axis, so the flat index modulo its length is the slice.
        slices = self.tissue.shape[2]
        in_slab = self.arteries.voxels % slices / slices * scanner.slabs % 1.0
        signal = inflow(self.arteries.signal, in_slab, scanner.saturation)
        # Tissue around 1, the signal of white matter; then veins and arteries are blended over it.
        image = 1 + (self.tissue - 1) * np.float32(scanner.tissue_contrast)
        add_vessels(image, self.veins, scanner.vessel_contrast * scanner.vein_contrast)
        add_vessels(image, Drawn(self.arteries.voxels, self.arteries.fraction, signal), scanner.vessel_contrast)
        return scan(image, scanner, self.spacing_mm, rng)


def draw_anatomy(shape: tuple[int, int, int], spacing_mm: SpacingMm, seed: int, number: int, is_diseased: bool) -> Anatomy:
    """Draw one head.

    Args:
        shape, spacing_mm: the grid; its centre is the centre of the field of view.
        seed, number: determine the head, together with the grid.
        is_diseased: whether to add stenoses or an occlusion.
    """
    # A random stream for each part, so that a change of one part does not change the others.
    streams = np.random.SeedSequence([seed, STREAM, number]).spawn(4)
    rng_pose, rng_head, rng_tree, rng_veins = (np.random.default_rng(stream) for stream in streams)
    head = draw_shape(rng_head)
    tree = grow_tree(head, rng_tree)
    if is_diseased:
        tree = diseased(tree, rng_tree)
    veins = join([draw_scalp_arteries(head, rng_veins), draw_sinuses(head, rng_veins), draw_cortical_veins(head, rng_veins)])
    # Tissue is evaluated at the head coordinates of the voxels; vessels are moved from head to scanner coordinates and rasterised.
    pose, affine = draw_pose(rng_pose), grid_affine(shape, spacing_mm)
    tissue, brain = draw_tissue(head, head_coordinates(shape, affine, pose), spacing_mm, rng_head)
    arteries = draw(tree.tubes(slowness(tree)).moved(pose.rotation, pose.shift), shape, affine)
    return Anatomy(tissue, brain, arteries, draw(veins.moved(pose.rotation, pose.shift), shape, affine), spacing_mm)
