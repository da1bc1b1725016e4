"""Command segment: the vessels of a scan that the project has never seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from angiosynth.data.bids import SUFFIXES, Patient
from angiosynth.data.intensity import load_scan
from angiosynth.data.nifti import write_mask
from angiosynth.errors import InputError
from angiosynth.reading import resolved
from angiosynth.report.projections import segmented_figure
from angiosynth.runtime.progress import say
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import IntensitySettings
from angiosynth.tracking.fetching import fetched_unet

TRACKED = ("runs:/", "models:/")


def segment(scan: Path, target: Path, brain: Path | None, model: str, *, force: bool = False) -> str:
    """Segment one scan; write the mask in the scan's grid and, beside it, a PNG to look at.

    Args:
        scan: NIfTI, of any orientation.
        target: the mask to write, .nii or .nii.gz; the PNG has the same name.
        brain: its brain mask. Without one the whole volume is searched.
        model: a folder such as models/unet/real, or an MLflow URI: runs:/RUN, models:/NAME/VERSION, models:/NAME@ALIAS.
        force: overwrite an existing mask and PNG, which may be somebody's work.

    Returns:
        A line with the number and volume of vessel voxels.

    Raises:
        InputError: scan, mask or model are unusable, the target is no NIfTI name, or something would be overwritten.
    """
    picture = _picture_of(target)
    for path in (target, picture):
        _refuse_overwriting(path, [other for other in (scan, brain) if other], force)
    segmenter, intensity = load_model(model, target)
    if brain is None:
        say(f"{scan}: no brain mask, so the whole volume is searched; vessels of the scalp count too. Give one with --mask")
    loaded = load_scan(Patient("scan", scan, brain, None), intensity)
    vessels = segmenter.segment(loaded.image, loaded.brain, f"segment {scan.name}")
    for path in (target, picture):  # again: the work takes minutes, in which someone may have drawn a label
        _refuse_overwriting(path, [other for other in (scan, brain) if other], force)
    new = not picture.exists()
    segmented_figure(loaded.image, loaded.brain, vessels, picture, loaded.spacing_mm)
    try:
        write_mask(vessels, scan, target)
    except InputError:  # a full disk: picture and mask or none of them
        if new:
            picture.unlink(missing_ok=True)
        raise
    voxels = np.count_nonzero(vessels)
    millilitres = voxels * float(np.prod(loaded.spacing_mm)) / 1000
    percent = 100 * voxels / np.count_nonzero(loaded.brain)
    return f"{target}: {voxels} vessel voxels, {millilitres:.1f} ml, {percent:.2f}% of the searched volume; to look at: {picture}"


def _picture_of(target: Path) -> Path:
    ending = next((suffix for suffix in reversed(SUFFIXES) if target.name.endswith(suffix)), "")
    name = target.name.removesuffix(ending)
    if not ending or not name:
        raise InputError(f"{target}: the mask is a NIfTI file; name it .nii or .nii.gz")
    return target.with_name(f"{name}.png")


def _refuse_overwriting(path: Path, inputs: Sequence[Path], force: bool) -> None:
    if any(resolved(path) == resolved(other) for other in inputs):
        raise InputError(f"{path}: is an input; name another file for the mask")
    if path.is_symlink():  # into DVC's cache, or to a forgotten folder
        raise InputError(f"{path}: is a link to {os.readlink(path)}; name that file, or another, with -o")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file with -o, such as {path / 'vessels.nii.gz'}")
    if path.exists() and not force:
        raise InputError(f"{path}: is there already; name another file with -o, or overwrite it with --force")


def load_model(model: str, target: Path) -> tuple[Segmenter, IntensitySettings]:
    """A trained U-net and the intensity rule that it was trained with, from a folder or from MLflow.

    MLflow's is fetched into a temporary folder beside `target`, as there may be no project.

    Raises:
        InputError: it is missing or damaged.
    """
    if not model.startswith(TRACKED):
        return _from_folder(Path(model))
    beside = next(folder for folder in target.absolute().parents if folder.is_dir())
    with fetched_unet(model, scratch=beside / "model") as folder:
        return _from_folder(folder)


def _from_folder(folder: Path) -> tuple[Segmenter, IntensitySettings]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model; `dvc repro` trains models/unet/real and others, or name one of MLflow's")
    intensity = read_facts(folder).intensity
    if intensity is None:
        raise InputError(f"{folder / 'unet.json'}: damaged, has no intensity rule; run `dvc repro` to train the U-net")
    return load_segmenter(folder), intensity
