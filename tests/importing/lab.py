"""A lab's folder of NIfTI files as they come, and the import command on it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from tests.factories import Array, affine_of, make_arrays, nib

SHAPE = (20, 24, 5)
NAME = b"MUELLER^HANS"


def save(path: Path, array: Array, affine: Array, kind: str = "<i2", slope: float | None = None) -> Path:
    """A file whose header names a person in every field that takes text, and in an extension."""
    image = nib.Nifti1Image(array.astype(np.dtype(kind).newbyteorder("=")), affine, nib.Nifti1Header(endianness=kind[0]))
    image.header.set_data_dtype(np.dtype(kind))
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = NAME
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"PatientName: " + NAME))
    path.parent.mkdir(parents=True, exist_ok=True)
    data = image.to_bytes()
    if slope:
        data = data[:112] + np.array([slope, 3.0], kind[0] + "f4").tobytes() + data[120:]  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(data) if path.name.lower().endswith(".gz") else data)
    return path


def turned(array: Array, orientation: str) -> tuple[Array, Array]:
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(("R", "A", "S")), nib.orientations.axcodes2ornt(tuple(orientation))
    )
    return nib.orientations.apply_orientation(array, turn), affine_of() @ nib.orientations.inv_ornt_aff(turn, array.shape)


LABEL = "scan02_VESSELS.NII.GZ"
BRAIN = "scan02_brain.nii.gz"
SCAN2 = "SCAN02.NII"


def make_lab(tmp_path: Path) -> Path:
    """Three patients as labs have them: orders of axes, types, endings and capitals as they come."""
    folder = tmp_path / "Müller & Söhne"
    scan, brain, label = make_arrays(SHAPE, 1)
    save(folder / "scan 01.nii.gz", *turned(scan, "LPS"))
    save(folder / "scan 01_vessels.nii.gz", *turned(label, "PSR"), kind="<f8")
    save(folder / "scan 01_brain.nii", *turned(brain * 255, "LPS"), kind="|u1")
    scan, brain, label = make_arrays(SHAPE, 2)
    save(folder / "SCAN02.NII", scan[..., None], affine_of(), ">i2", slope=0.5)
    shifted = affine_of()
    shifted[:3, 3] += 0.01
    save(folder / "scan02_VESSELS.NII.GZ", label[..., None], shifted)
    save(folder / "scan02_brain.nii.gz", brain, affine_of())
    scan, brain, _ = make_arrays(SHAPE, 3)
    save(folder / "later/scan03.nii.gz", scan, affine_of())
    save(folder / "later/scan03_brain.nii.gz", brain, affine_of())
    return folder


def call_import(lab: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, ["import", str(lab), "--scan", "scan*", "--vessels", "*_vessels", "--brain", "*_brain", *more])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    return done.exit_code, done.output
