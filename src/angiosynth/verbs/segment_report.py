"""Write the report of command segment: model, settings and versions behind the masks, without a patient's name or path."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy
import scipy
import torch

from angiosynth import __version__
from angiosynth.compute.precision import device
from angiosynth.reading import file_digest
from angiosynth.runtime.output import write_json
from angiosynth.segmentation.prediction import MARGIN, THRESHOLD, Segmenter
from angiosynth.segmentation.storage import UNET_FILES
from angiosynth.settings import IntensitySettings, digest
from angiosynth.verbs.manifest import manifest_path

FORMAT = 1
LIBRARIES: tuple[Any, ...] = (torch, numpy, scipy, nibabel)


@dataclass(frozen=True)
class VolumeReport:
    """The entry of one scan.

    Attributes:
        number: position of the scan, from 1.
        sha256: digest of the scan's file, or of all slices of a series.
        shape: number of voxels along each axis.
        spacing_mm: voxel size along each axis, in mm.
        brain_mask: whether a brain mask was given.
        vessel_voxels: number of vessel voxels.
        vessel_ml: their volume in millilitres.
        vessel_share: their share of the searched voxels, 0 to 1.
        warnings: reasons to look at the mask.
        fault: why no mask was written; "" if it was.
    """

    number: int
    sha256: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    brain_mask: bool = False
    vessel_voxels: int = 0
    vessel_ml: float = 0.0
    vessel_share: float = 0.0
    warnings: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class ModelReport:
    """The model: the SHA-256 of its files, and the settings stored with it."""

    name: str
    sha256: dict[str, str]
    intensity: dict[str, Any]
    precision: str
    device: str
    threshold: float = THRESHOLD
    margin_voxels: int = MARGIN
    versions: dict[str, str] = field(default_factory=dict)


def describe_model(name: str, folder: Path, segmenter: Segmenter, intensity: IntensitySettings) -> ModelReport:
    """Describe a loaded model. `name` is its MLflow URI, or "" for a folder, because a path may identify the user."""
    libraries = {library.__name__: str(library.__version__) for library in LIBRARIES}
    return ModelReport(
        name=name,
        sha256={file: str(file_digest(folder / file).hexdigest()) for file in UNET_FILES},
        intensity=intensity.model_dump(mode="json"),
        precision=segmenter.precision,
        device=str(device()),
        versions={"angiosynth": __version__, "python": platform.python_version(), **libraries, "cuda": str(torch.version.cuda or "none")},
    )


def leave_report(path: Path | None, model: ModelReport, volumes: Sequence[VolumeReport]) -> None:
    """Write the report to `path`, if given, and in a project also to lineage/segment-DIGEST.json (digest of model and scans).

    Raises:
        InputError: a file cannot be written.
    """
    kept = manifest_path(Path(), "segment", digest(model.sha256, [volume.sha256 for volume in volumes]))
    for place in (path, kept):
        if place is not None:
            write_report(place, model, volumes)


def write_report(path: Path, model: ModelReport, volumes: Sequence[VolumeReport]) -> None:
    """Write the report as JSON, readable by its owner only.

    Raises:
        InputError: the file cannot be written.
    """
    described = asdict(model)
    settings = {name: described[name] for name in ("intensity", "precision", "device", "threshold", "margin_voxels")}
    made = {
        "format": FORMAT,
        "model": {"name": model.name, "sha256": model.sha256},
        "settings": settings,
        "versions": model.versions,
        "volumes": [asdict(volume) for volume in volumes],
        "warnings": sorted({warning for volume in volumes for warning in volume.warnings}),
    }
    write_json(path, made)
