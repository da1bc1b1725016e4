"""List the volumes in the folder of a lab: files in supported formats, and folders of DICOM slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from angiosynth.data.folders import NIFTI, files_below, leads_outside
from angiosynth.data.formats import DATA_FILE, READ, TUBES, foreign_format, is_dicom, without_ending
from angiosynth.errors import InputError


@dataclass(frozen=True)
class Listing:
    """Content of a folder and its subfolders.

    Attributes:
        volumes: files, and folders of DICOM slices. Files in other formats are skipped if a NIfTI file of the same name is next to them.
        outside: links to volumes and folders outside the folder -> fault.
        others: files that are not part of a volume.
        lost: broken links that may be folders.
    """

    volumes: list[Path]
    outside: dict[Path, str]
    others: list[Path]
    lost: list[Path]


def list_volumes(folder: Path) -> Listing:
    """List the volumes below a folder; links inside the folder are followed.

    Raises:
        InputError: the folder does not exist, contains no volume, or directly contains DICOM slices, which no pattern can match.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds the scans")
    below = list(files_below(folder, within=True))
    advice = "put a copy in its place, or name the folder that holds both"
    outside = {
        path: f"{path}: is a link that leads outside {folder}; {advice}"
        for path in below
        if leads_outside(path, folder) and (path.is_dir() or NIFTI.search(path.name) or READ.search(path.name) or is_dicom(path))
    }
    inside = [path for path in below if path not in outside]
    named_nifti = {_stem(path) for path in inside if NIFTI.search(path.name)}
    files = [path for path in inside if NIFTI.search(path.name) or (READ.search(path.name) and _takes(path, named_nifti))]
    slices = [path for path in inside if not NIFTI.search(path.name) and not READ.search(path.name) and is_dicom(path)]
    folders = sorted({path.parent for path in slices})
    if folder in folders:
        raise InputError(f"{folder}: holds DICOM slices itself; give each patient's series a folder of its own, or name the folder above")
    if not files and not folders and outside:
        raise InputError(next(iter(outside.values())))
    if not files and not folders:
        other = next((kind for path in below if (kind := foreign_format(path.name))), "")
        hint = f"there is {other}: convert it first, DICOM with dcm2niix" if other else "scans are files .nii or .nii.gz, or DICOM series"
        raise InputError(f"{folder}: no volume in it; {hint}")
    members = {*slices, *_data_files(inside, files)}
    lost = [path for path in inside if path.is_symlink() and not path.exists() and not path.suffix]
    return Listing([*files, *folders], outside, [path for path in below if path not in {*files, *members}], lost)


def _takes(path: Path, named_nifti: set[tuple[Path, str]]) -> bool:
    """Whether a file in another format counts as a volume: tubes always, images unless a NIfTI file of the same name exists."""
    return bool(TUBES.search(path.name)) or _stem(path) not in named_nifti


def _data_files(inside: list[Path], volumes: list[Path]) -> list[Path]:
    """Data files of headers with separate voxels; all programs name them like the header."""
    stems = {_stem(path) for path in volumes}
    return [path for path in inside if DATA_FILE.search(path.name) and (path.parent, DATA_FILE.sub("", path.name).lower()) in stems]


def _stem(path: Path) -> tuple[Path, str]:
    return path.parent, without_ending(path.name).lower()
