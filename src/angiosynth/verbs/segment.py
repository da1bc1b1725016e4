"""Command segment: segment the vessels of scans from outside the project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiosynth.compute.precision import on_device
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
from angiosynth.verbs.segment_report import ModelReport, VolumeReport, describe_model, leave_report

TRACKED = ("runs:/", "models:/")
NO_MASK, NO_VESSEL = "no brain mask: the whole volume was searched", "no voxel is a vessel's"


@dataclass(frozen=True)
class Work:
    """A scan, its brain mask or None, and the mask to write."""

    scan: Path
    brain: Path | None
    target: Path

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.scan, self.brain) if self.brain else (self.scan,)


def segment(
    scan: Path, target: Path, brain: Path | None, model: str, *, force: bool = False, report: Path | None = None, device: str = "auto"
) -> str:
    """Segment one scan; write the mask in the scan's grid and, in the same folder, a PNG for inspection.

    Args:
        scan: NIfTI of any orientation, or another format that `import` reads.
        target: the mask to write, .nii or .nii.gz; the PNG has the same name.
        brain: the scan's brain mask; None segments the whole volume.
        model: a folder such as models/unet/real, or an MLflow URI: runs:/RUN, models:/NAME/VERSION, models:/NAME@ALIAS.
        force: overwrite an existing mask, PNG and report, which may be manual work.
        report: JSON file to write, with model, settings, versions and volume, without a patient's name.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        A line with the number of vessel voxels and their volume.

    Raises:
        InputError: scan, mask or model are unusable, the target is no NIfTI name, the device does not exist, or a file would be
            overwritten.
    """
    work = Work(scan, brain, target)
    refuse_overwriting(work, report, force)
    with on_device(device), loaded_model(model, target) as (segmenter, intensity, described):
        line, volume = segment_one(work, segmenter, intensity, force)
    leave_report(report, described, [volume])
    return line


def segment_one(
    work: Work, segmenter: Segmenter, intensity: IntensitySettings, force: bool, *, number: int = 1, shown: bool = True
) -> tuple[str, VolumeReport]:
    """Segment one scan with a loaded model and write its mask and PNG.

    Args:
        work: the scan and the mask to write.
        segmenter: the trained U-net.
        intensity: the intensity rule of its training.
        force: overwrite an existing mask and PNG.
        number: number of the scan in the report.
        shown: whether to show a progress bar.

    Returns:
        A line with the number of vessel voxels and their volume, and the scan's entry in the report.

    Raises:
        InputError: as of `segment`.
    """
    scan, target = work.scan, work.target
    picture = _picture_of(target)
    if work.brain is None:
        say(f"{scan}: no brain mask, so the whole volume is searched; vessels of the scalp count too. Give one with --mask")
    loaded = load_scan(Patient("scan", scan, work.brain, None), intensity)
    vessels = segmenter.segment(loaded.image, loaded.brain, f"segment {scan.name}" if shown else None)
    refuse_overwriting(work, None, force)  # again, because somebody may have written a label in the minutes since the first check
    new = not picture.exists()
    segmented_figure(loaded.image, loaded.brain, vessels, picture, loaded.spacing_mm)
    try:
        write_mask(vessels, scan, target)
    except InputError:  # such as a full disk: leave no picture without a mask
        if new:
            picture.unlink(missing_ok=True)
        raise
    voxels = int(np.count_nonzero(vessels))
    millilitres = voxels * float(np.prod(loaded.spacing_mm)) / 1000
    share = voxels / np.count_nonzero(loaded.brain)
    warnings = [NO_MASK] * (work.brain is None) + [NO_VESSEL] * (not voxels)
    volume = VolumeReport(
        number=number,
        sha256=loaded.sha256,
        shape=loaded.image.shape,
        spacing_mm=loaded.spacing_mm,
        brain_mask=work.brain is not None,
        vessel_voxels=voxels,
        vessel_ml=millilitres,
        vessel_share=float(share),
        warnings=tuple(warnings),
    )
    line = f"{target}: {voxels} vessel voxels, {millilitres:.1f} ml, {100 * share:.2f}% of the searched volume; to look at: {picture}"
    return line, volume


def _picture_of(target: Path) -> Path:
    ending = next((suffix for suffix in reversed(SUFFIXES) if target.name.endswith(suffix)), "")
    name = target.name.removesuffix(ending)
    if not ending or not name:
        raise InputError(f"{target}: the mask is a NIfTI file; name it .nii or .nii.gz")
    return target.with_name(f"{name}.png")


def refuse_overwriting(work: Work, report: Path | None, force: bool) -> None:
    """Check that mask, picture and report overwrite no input and, unless `force`, no existing file.

    Raises:
        InputError: a file would be overwritten.
    """
    paths = [work.target, _picture_of(work.target), *([report] if report else [])]
    for path in paths:
        _refuse_overwriting(path, work.inputs, force)
    if len({resolved(path) for path in paths}) < len(paths):
        raise InputError(f"{report}: is the mask or its picture; name another file for the report")


def _refuse_overwriting(path: Path, inputs: Sequence[Path], force: bool) -> None:
    if any(resolved(path) == resolved(other) for other in inputs):
        raise InputError(f"{path}: is an input; name another file for the mask")
    if path.is_symlink():  # the link may lead into DVC's cache
        raise InputError(f"{path}: is a link to {os.readlink(path)}; name that file, or another, with -o")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file with -o, such as {path / 'vessels.nii.gz'}")
    if path.exists() and not force:
        raise InputError(f"{path}: is there already; name another file with -o, or overwrite it with --force")


@contextmanager
def loaded_model(model: str, target: Path) -> Iterator[tuple[Segmenter, IntensitySettings, ModelReport]]:
    """Load a trained U-net, the intensity rule of its training and its description, from a folder or from MLflow.

    A model of MLflow is fetched into a temporary folder next to `target`, because the command may run outside a project.

    Raises:
        InputError: the model is missing or damaged.
    """
    if not model.startswith(TRACKED):
        yield _from_folder(Path(model), "")
        return
    beside = next(folder for folder in target.absolute().parents if folder.is_dir())
    with fetched_unet(model, scratch=beside / "model") as folder:
        loaded = _from_folder(folder, model)
    yield loaded


def _from_folder(folder: Path, name: str) -> tuple[Segmenter, IntensitySettings, ModelReport]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model; `dvc repro` trains models/unet/real and others, or name one of MLflow's")
    intensity = read_facts(folder).intensity
    if intensity is None:
        raise InputError(f"{folder / 'unet.json'}: damaged, has no intensity rule; run `dvc repro` to train the U-net")
    segmenter = load_segmenter(folder)
    return segmenter, intensity, describe_model(name, folder, segmenter, intensity)
