"""Import files of a lab into BIDS: checked, with numbers instead of names, and only geometry and scaling of their headers."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from angiosynth.data.bids import BRAIN, LABEL, SCAN
from angiosynth.data.copies import NEAR_COPY, CopySearch, correlation, fingerprint
from angiosynth.data.geometry import GridSource, grid_of
from angiosynth.data.grids import same_grid
from angiosynth.data.nifti import load_volume, open_stored, write_mask
from angiosynth.data.nifti_header import GEOMETRY_FIELDS, scaling
from angiosynth.errors import InputError
from angiosynth.importing.import_checks import Checked, Rules, check_files
from angiosynth.importing.originals import keep_words
from angiosynth.importing.pairing import Sources
from angiosynth.importing.pseudonyms import draw_numbers, write_names
from angiosynth.importing.target import describe, refuse_places, refuse_users_files
from angiosynth.reading import file_digest
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.progress import progress, say

nib: Any = nibabel


def import_folder(paired: Sequence[Sources], rules: Rules, target: Path | None, names: Path | None) -> list[Checked]:
    """Check all files and write a BIDS folder atomically; without a target only check.

    Scans keep voxels, type, scaling and grid; labels and masks are converted to 8 bit on the grid of their scan. The CSV file `names`,
    which only its owner can read, links names and numbers. Scans in this table keep their number; new ones get a free number at random, so
    that numbers do not follow the alphabetical order. One patient is in memory at a time.

    Args:
        paired: files of each patient.
        rules: interpretation of ambiguous files.
        target: a new folder, or one made by an earlier import.
        names: table of numbers and names, outside `target`.

    Returns:
        Results of every patient, in the given order.

    Raises:
        InputError: a first line with the number of faults, then one line for each; or `target` or `names` cannot be used.
    """
    if target is None:
        return _checked_all(paired, rules, None, {})
    assert names is not None
    refuse_places(target, names, [path for sources in paired for path in (sources.scan, sources.vessels, sources.brain) if path])
    numbers = draw_numbers(names, [sources.name for sources in paired])
    gone = sorted({path.name for path in target.glob("sub-*")} - {numbers[sources.name] for sources in paired})
    with whole_folder(target) as folder:
        checked = _checked_all(paired, rules, folder, numbers, target)
        describe(folder, target.name)
        refuse_users_files(target)  # again, since someone may have added a label during the minutes of reading
        write_names(names, paired, numbers)
        keep_words(target, names)
    if gone:
        say(f"{target}: {len(gone)} patients of an earlier import are not among these scans and are gone from it: {', '.join(gone)}")
    return checked


def _checked_all(
    paired: Sequence[Sources], rules: Rules, folder: Path | None, numbers: Mapping[str, str], before: Path | None = None
) -> list[Checked]:
    """Check all files and write them into `folder`, if given; `before` is the folder of an earlier import."""
    faults: list[str] = []
    sound: list[Checked] = []
    copies = CopySearch()
    for sources in progress(paired, "import" if folder else "checking", len(paired)):
        try:
            checked = check_files(sources, rules, copies)
        except InputError as error:
            faults += error.lines
            continue
        if folder is not None and not faults:  # after a fault nothing is written, but checking continues
            place = Path(numbers[sources.name], "anat", numbers[sources.name])
            _write(checked, rules, folder / place)
            if before and (note := other_content(Path(f"{before / place}{SCAN}.nii.gz"), Path(f"{folder / place}{SCAN}.nii.gz"))):
                checked = replace(checked, notes=(*checked.notes, note))
        sound.append(replace(checked, masks=None))
    if faults:
        raise all_faults(faults)
    return sound


def all_faults(faults: Sequence[str]) -> InputError:
    """Return the error with all faults, preceded by their number."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return InputError(f"import: {count} found, nothing written; mend and run again", *faults)


def _write(checked: Checked, rules: Rules, stem: Path) -> None:
    assert checked.masks is not None
    scan = Path(f"{stem}{SCAN}.nii.gz")
    scan.parent.mkdir(parents=True)
    # The gzip header contains no file name and no time.
    scan.write_bytes(gzip.compress(clean_scan(checked.sources.scan, rules.geometry, rules.series), 6, mtime=0))
    for kind, ending in (("brain", BRAIN), ("vessels", LABEL)):
        if kind in checked.masks:
            write_mask(checked.masks[kind], scan, Path(f"{stem}{ending}.nii.gz"))


def other_content(before: Path, now: Path) -> str:
    """Return a note on a scan whose voxels or grid differ from those of an earlier import under the same name; "" if they do not."""
    if not before.is_file() or file_digest(before).digest() == file_digest(now).digest():
        return ""
    try:
        old, new = load_volume(before).volume, load_volume(now).volume
    except InputError:  # the earlier file is damaged
        return ""
    if same_grid(old, new):
        if np.array_equal(old.array, new.array):
            return ""
        likeness = correlation(fingerprint(old.array), fingerprint(new.array))
        if likeness >= NEAR_COPY:
            return "scan: its file had other values at the last import"
    return "scan: its file had other content at the last import; if it is another person now, rename it, so that it gets another number"


def clean_scan(path: Path, prefer: GridSource | None = None, series: int | None = None) -> bytes:
    """NIfTI file with the stored voxels and a new header with only type, shape, grid and scaling.

    Names, dates and free text of the old header, and its extensions, which may contain whole DICOM headers, are not copied. A last axis of
    length 1 is dropped. If the old header contradicts itself, sform, qform and pixdim of the new header all describe the chosen grid.

    Args:
        path: a file that `load_volume` accepts.
        prefer: the description to use if the header contradicts itself.
        series: number of the series to read from a folder with several DICOM series.
    """
    stored = open_stored(path, series)
    old, is_nifti2 = stored.header, isinstance(stored.header, nib.Nifti2Header)
    header = (nib.Nifti2Header if is_nifti2 else nib.Nifti1Header)(endianness=old.endianness)
    header.set_data_dtype(stored.array.dtype)
    header.set_data_shape(stored.array.shape)
    for field in GEOMETRY_FIELDS:
        header[field] = old[field]
    header["pixdim"][4:] = 0
    grid = grid_of(old, path, prefer)
    if grid.conflict:
        header["pixdim"][1:4] = grid.spacing_mm
        header.set_sform(grid.affine, code=1)
        header.set_qform(grid.affine, code=1)
    header["scl_slope"], header["scl_inter"] = scaling(old, path)
    header["vox_offset"] = 544 if is_nifti2 else 352
    voxels: bytes = stored.array.tobytes(order="F")
    return bytes(header.binaryblock) + bytes(4) + voxels
