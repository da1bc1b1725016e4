"""Draw the phantom: simulated TOF-MRA scans of several sites, determined by a seed.

A patient is drawn in three steps: the anatomy in millimetres (head, arterial tree, veins and scalp vessels), its signal on the scanner's
grid, and the effects of the scanner (blur, slabs, coil, noise). The result does not depend on the order of patients or the number of
processes.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import zlib
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Affine, Mask
from angiosynth.phantom.head import draw_shape
from angiosynth.phantom.lesions import diseased
from angiosynth.phantom.pose import Pose, draw_pose, grid_affine, head_coordinates
from angiosynth.phantom.scanning import add_vessels, inflow, scan, slowness
from angiosynth.phantom.tissue import draw_tissue
from angiosynth.phantom.tubes import draw, join
from angiosynth.phantom.veins import draw_cortical_veins, draw_scalp_arteries, draw_sinuses
from angiosynth.phantom.vessel_tree import Tree, grow_tree
from angiosynth.runtime.machine import cpu_count
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.progress import progress
from angiosynth.runtime.tables import write_table
from angiosynth.settings import ScannerSettings

ALONE = 500_000  # voxels of all heads that are drawn in no more time than worker processes need to start
COMPRESSION = 1  # gzip level; noise does not compress, so higher levels only take time
LIBRARIES = ["nibabel", "numpy", "pydantic", "ruamel.yaml", "scipy.interpolate", "scipy.ndimage", "scipy.spatial"]  # of a worker process


def generate_patient(
    scanner: ScannerSettings, seed: int, patient: int, is_diseased: bool, site: str = "site-a"
) -> tuple[NDArray[np.uint8], Mask, Mask, Affine]:
    """Draw one patient.

    Args:
        scanner: scanner of the site.
        seed, site, patient: determine anatomy and noise, together with the scanner.
        is_diseased: whether to add stenoses or an occlusion.

    Returns:
        Image (x, y, z) uint8, brain mask (x, y, z), vessel label (x, y, z) (voxels inside the brain of which at least half is artery), all
        in the scanner's orientation, and the affine (4, 4) in mm.
    """
    # Each component of the anatomy has a separate random stream, so that changing one leaves the others unchanged.
    streams = np.random.SeedSequence([seed, zlib.crc32(site.encode()), patient]).spawn(5)
    rng_pose, rng_head, rng_tree, rng_veins, rng_scan = (np.random.default_rng(stream) for stream in streams)
    head = draw_shape(rng_head)
    tree = grow_tree(head, rng_tree)
    if is_diseased:
        tree = diseased(tree, rng_tree)
    veins = join([draw_scalp_arteries(head, rng_veins), draw_sinuses(head, rng_veins), draw_cortical_veins(head, rng_veins)])
    pose, affine = draw_pose(rng_pose), grid_affine(scanner.shape, scanner.spacing_mm)
    # signal on the scanner's grid: tissue, then veins, then arteries, which cover the tissue and veins that they cross
    tissue, brain = draw_tissue(head, head_coordinates(scanner.shape, affine, pose), scanner.spacing_mm, rng_head)
    tissue = 1 + (tissue - 1) * np.float32(scanner.tissue_contrast)
    arteries = draw(tree.tubes(_inflow(tree, scanner, affine, pose)).moved(pose.rotation, pose.shift), scanner.shape, affine)
    add_vessels(tissue, draw(veins.moved(pose.rotation, pose.shift), scanner.shape, affine), scanner.vessel_contrast)
    add_vessels(tissue, arteries, scanner.vessel_contrast)
    # the scanner's effects on the image; the label stays exact
    image = scan(tissue, scanner, scanner.spacing_mm, rng_scan)
    label = np.zeros(scanner.shape, bool)
    label.reshape(-1)[arteries.voxels[arteries.fraction >= 0.5]] = True
    return _oriented(image, brain, label & brain, affine, scanner.orientation)


def _inflow(tree: Tree, scanner: ScannerSettings, affine: Affine, pose: Pose) -> NDArray[np.float64]:
    """Signal (n,) of the blood at the points of the tree; see `scanning.inflow`."""
    height = (tree.points @ pose.rotation.T + pose.shift - affine[:3, 3])[:, 2] / scanner.spacing_mm[2]
    in_slab = np.clip(height / scanner.shape[2], 0, 0.999) * scanner.slabs % 1.0
    return inflow(slowness(tree), in_slab, scanner.saturation)


def _oriented(
    image: NDArray[np.uint8], brain: Mask, label: Mask, affine: Affine, orientation: str
) -> tuple[NDArray[np.uint8], Mask, Mask, Affine]:
    """Flip canonical arrays and their affine to the scanner's orientation, such as "LPS"; axes are not swapped."""
    flipped = [axis for axis, (code, canonical) in enumerate(zip(orientation, "RAS", strict=True)) if code != canonical]
    flipped_affine = affine.copy()
    for axis in flipped:
        flipped_affine[axis, axis] = -affine[axis, axis]
        flipped_affine[axis, 3] += affine[axis, axis] * (image.shape[axis] - 1)
    axes = tuple(flipped)
    image, brain, label = np.flip(image, axes), np.flip(brain, axes), np.flip(label, axes)
    return np.ascontiguousarray(image), np.ascontiguousarray(brain), np.ascontiguousarray(label), flipped_affine


def generate_site(scanner: ScannerSettings, seed: int, site: str, diseased_share: float, target: Path) -> None:
    """Draw all patients of a site, on all cores, as a BIDS dataset. The folder is written completely or not at all.

    Args:
        scanner: scanner of the site with its numbers of patients; unlabelled patients are numbered after the labelled ones.
        seed, site: determine the patients.
        diseased_share: fraction of patients with stenoses or an occlusion, rounded to whole patients separately for labelled and unlabelled
            patients.
        target: the folder; an existing one is replaced.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    sick = _sick(scanner.patients, seed, site, diseased_share)
    # Unlabelled patients are drawn separately, so that adding them does not change the labelled ones.
    sick += _sick(scanner.unlabelled, seed, f"{site}/unlabelled", diseased_share)
    # Workers must end before an incomplete folder is removed: those still drawing would create it again.
    with whole_folder(target) as folder, closing(_drawn(scanner, seed, site, sick, folder)) as drawn:
        _describe(folder, site, sick)
        for _ in progress(drawn, f"phantom {site}", len(sick)):
            pass


def _sick(patients: int, seed: int, site: str, share: float) -> list[bool]:
    """Select at random which patients are diseased: a fraction `share` of them, rounded."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode())]))
    order = rng.permutation(patients)
    return [bool(place < round(share * patients)) for place in order]


def _drawn(scanner: ScannerSettings, seed: int, site: str, sick: list[bool], folder: Path) -> Generator[int, None, None]:
    """Draw and write the patients, in worker processes unless they are small; yields each patient's number on completion."""
    if len(sick) * math.prod(scanner.shape) <= ALONE:
        yield from (_write_patient(scanner, seed, site, patient, ill, folder) for patient, ill in enumerate(sick, 1))
        return
    # Workers ignore Ctrl-C; the parent lets them finish a volume.
    pool = ProcessPoolExecutor(min(cpu_count(), len(sick)), _context(), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        jobs = [pool.submit(_write_patient, scanner, seed, site, patient, ill, folder) for patient, ill in enumerate(sick, 1)]
        for job in as_completed(jobs):
            yield job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context() -> BaseContext:
    """How worker processes start: not by forking this one, which may have threads, but one that has only imported the libraries.

    Only Linux supports that with NumPy. The project's code is not imported before the fork, since the search path is set after it.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def _write_patient(scanner: ScannerSettings, seed: int, site: str, patient: int, ill: bool, folder: Path) -> int:
    """Draw one patient and write scan, brain mask and (for labelled patients) label into a new BIDS folder; returns the number."""
    image, brain, label, affine = generate_patient(scanner, seed, patient, ill, site)
    name = f"sub-{patient:02d}"
    anat = folder / name / "anat"
    anat.mkdir(parents=True)
    volumes = {"angio": image, "desc-brain_mask": brain, "desc-vessel_mask": label}
    if patient > scanner.patients:
        del volumes["desc-vessel_mask"]
    for suffix, volume in volumes.items():
        stored = nib.Nifti1Image(volume.astype(np.uint8), affine)
        stored.header.set_xyzt_units("mm", "sec")
        stored.set_sform(affine, 1)
        stored.set_qform(affine, 1)
        _save(stored, anat / f"{name}_{suffix}.nii.gz")
    return patient


def _save(scan: nib.Nifti1Image, path: Path) -> None:
    """Write with low compression and without a time stamp, so that equal volumes give equal files."""
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, 31)
    path.write_bytes(packer.compress(scan.to_bytes()) + packer.flush())


def _describe(folder: Path, site: str, sick: list[bool]) -> None:
    description = {"Name": f"angiosynth phantom, {site}", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (folder / "dataset_description.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (folder / "README").write_text("Drawn by a program: no scan of a person is in it or behind it.\n", encoding="utf-8")
    with (folder / "participants.tsv").open("w", encoding="utf-8", newline="") as stream:
        rows = ([f"sub-{patient:02d}", "steno-occlusive" if ill else "control"] for patient, ill in enumerate(sick, 1))
        write_table(stream, ["participant_id", "group"], rows, delimiter="\t")
