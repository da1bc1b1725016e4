"""Small BIDS cohorts and NIfTI files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

nib: Any = nibabel

Array = NDArray[Any]


def affine_of(spacing_mm: tuple[float, float, float] = (0.8, 0.9, 1.1), origin: tuple[float, float, float] = (-10.0, 5.0, 3.0)) -> Array:
    """Canonical (RAS+) affine."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return affine


def write_nifti(path: Path, array: Array, affine: Array | None = None, orientation: str = "RAS", description: str = "") -> Path:
    """Write a canonical array the way a scanner with another axis order would store it."""
    affine = affine_of() if affine is None else affine
    canonical = nib.orientations.axcodes2ornt(("R", "A", "S"))
    turn = nib.orientations.ornt_transform(canonical, nib.orientations.axcodes2ornt(tuple(orientation)))
    stored = nib.orientations.apply_orientation(array, turn)
    image = nib.Nifti1Image(stored, affine @ nib.orientations.inv_ornt_aff(turn, array.shape))
    image.header["descrip"] = description.encode()
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def make_arrays(shape: tuple[int, int, int], seed: int, tubes: int = 6, radius: float = 1.6) -> tuple[Array, Array, Array]:
    """Scan (int16), brain and label (uint8), all (x, y, z): bright straight tubes in an ellipsoid of noise."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1).astype(np.float64)
    centre = (np.array(shape) - 1) / 2
    brain = (((grid - centre) / (np.array(shape) * 0.48)) ** 2).sum(axis=-1) <= 1
    label = np.zeros(shape, bool)
    for _ in range(tubes):
        through = centre + rng.uniform(-0.2, 0.2, 3) * shape
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        offset = grid - through
        label |= np.linalg.norm(offset - (offset @ direction)[..., None] * direction, axis=-1) <= radius
    label &= brain
    scan = rng.normal(300, 30, shape) * (0.3 + 0.7 * brain) + 500 * label
    return np.clip(scan, 0, 2000).astype(np.int16), brain.astype(np.uint8), label.astype(np.uint8)


def make_cohort(
    folder: Path,
    n: int = 3,
    shape: tuple[int, int, int] = (40, 44, 6),
    *,
    seed: int = 0,
    labelled: bool = True,
    masked: bool = True,
    orientation: str = "RAS",
    spacing_mm: tuple[float, float, float] = (0.8, 0.9, 1.1),
) -> Path:
    """A BIDS folder with patients sub-01, sub-02, ...; the same arguments give the same volumes.

    Args:
        folder: where to write; also returned.
        n: number of patients.
        shape: (x, y, z) in canonical order.
        seed: other seeds give other heads.
        labelled: write vessel labels.
        masked: write brain masks.
        orientation: how files store their axes.
        spacing_mm: canonical voxel size.
    """
    for index in range(n):
        name = f"sub-{index + 1:02d}"
        scan, brain, label = make_arrays(shape, seed * 1000 + index)
        stem = folder / name / "anat" / name
        write_nifti(Path(f"{stem}_angio.nii.gz"), scan, affine_of(spacing_mm), orientation)
        if masked:
            write_nifti(Path(f"{stem}_desc-brain_mask.nii.gz"), brain, affine_of(spacing_mm), orientation)
        if labelled:
            write_nifti(Path(f"{stem}_desc-vessel_mask.nii.gz"), label, affine_of(spacing_mm), orientation)
    return folder
