"""Draw the structures of a phantom patient that resemble arteries: veins and sinuses, and tissue brighter than the brain."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.phantom.head import draw_shape
from angiosynth.phantom.pose import draw_pose, grid_affine, head_coordinates
from angiosynth.phantom.tissue import draw_tissue
from angiosynth.phantom.tubes import draw, join
from angiosynth.phantom.veins import draw_cortical_veins, draw_scalp_arteries, draw_sinuses
from angiosynth.settings import ScannerSettings

LEAST_VEIN = 0.25  # smallest fraction of a voxel's volume inside a vein
BRIGHT = 1.15  # smallest signal relative to white matter: choroid plexus, dura, fat


@dataclass(frozen=True)
class Lookalikes:
    """Masks (x, y, z) in canonical orientation: `veins` with sinuses and scalp vessels, and `bright` tissue without vessels."""

    veins: Mask
    bright: Mask


def draw_lookalikes(scanner: ScannerSettings, seed: int, patient: int, site: str) -> Lookalikes:
    """Draw the look-alikes of the patient that `generate_patient` draws with the same arguments, without growing arteries."""
    # The random streams of pose, head and veins must equal those of `generate_patient`.
    streams = np.random.SeedSequence([seed, zlib.crc32(site.encode()), patient]).spawn(5)
    rng_pose, rng_head, _, rng_veins, _ = (np.random.default_rng(stream) for stream in streams)
    head = draw_shape(rng_head)
    vessels = join([draw_scalp_arteries(head, rng_veins), draw_sinuses(head, rng_veins), draw_cortical_veins(head, rng_veins)])
    pose, affine = draw_pose(rng_pose), grid_affine(scanner.shape, scanner.spacing_mm)
    tissue, _ = draw_tissue(head, head_coordinates(scanner.shape, affine, pose), scanner.spacing_mm, rng_head)
    drawn = draw(vessels.moved(pose.rotation, pose.shift), scanner.shape, affine)
    veins = np.zeros(scanner.shape, bool)
    veins.reshape(-1)[drawn.voxels[drawn.fraction >= LEAST_VEIN]] = True
    return Lookalikes(veins, tissue >= BRIGHT)
