"""The report of command segment: by which model, settings and versions the masks were made, without a name or path of a patient."""

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
    """One scan. sha256: of the scan's file, or of all slices of a series. fault: why there is no mask, "" where there is one."""

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
    """The model by the SHA-256 of its files, and the rules that it brings."""

    name: str
    sha256: dict[str, str]
    intensity: dict[str, Any]
    precision: str
    device: str
    threshold: float = THRESHOLD
    margin_voxels: int = MARGIN
    versions: dict[str, str] = field(default_factory=dict)


def describe_model(name: str, folder: Path, segmenter: Segmenter, intensity: IntensitySettings) -> ModelReport:
    """The facts of a loaded model; `name` is an address of MLflow, or "" for a folder, whose place is the user's own."""
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
    """Write the report to the file that was asked for, and, in a project's folder, to lineage/segment-DIGEST.json, of model and scans.

    Raises:
        InputError: it cannot be written.
    """
    kept = manifest_path(Path(), "segment", digest(model.sha256, [volume.sha256 for volume in volumes]))
    for place in (path, kept):
        if place is not None:
            write_report(place, model, volumes)


def write_report(path: Path, model: ModelReport, volumes: Sequence[VolumeReport]) -> None:
    """Write the report as JSON, for its user alone.

    Raises:
        InputError: it cannot be written.
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
