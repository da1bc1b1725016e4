"""Command segment for many scans: a BIDS data set, or a folder of scans of any format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from angiosynth.compute.precision import on_device
from angiosynth.data.bids import SCAN, find_patients
from angiosynth.data.formats import is_dicom, without_ending
from angiosynth.errors import InputError
from angiosynth.importing.pairing import pair_by_patterns
from angiosynth.runtime.progress import progress
from angiosynth.verbs.segment import Work, loaded_model, refuse_overwriting, segment_one
from angiosynth.verbs.segment_report import VolumeReport, leave_report

# Differs from the name of a label, so that no stage trains on a prediction or scores against it.
PREDICTED = "_desc-predicted_mask"


def is_many(scan: Path) -> bool:
    """Return whether a path is a folder of scans. A folder of DICOM slices is one scan."""
    return scan.is_dir() and not any(path.is_file() and is_dicom(path) for path in scan.iterdir())


def works_in(folder: Path, target: Path, scan: str, brain: str) -> list[Work]:
    """Find the scans of a folder, and name the masks to write.

    Args:
        folder: a BIDS data set, in which names identify scans and brain masks, or any other folder.
        target: the folder of the masks, which keep the names and subfolders of the scans.
        scan: pattern of the scans' names, as of `import`; "" for BIDS.
        brain: pattern of the brain masks' names; "" for none, and for BIDS.

    Raises:
        InputError: no scan matches; a file matches ambiguously; patterns are given for BIDS; or two scans would have the same mask.
    """
    if any(folder.glob("sub-*/**/anat")):
        if scan or brain:
            raise InputError(f"{folder}: is a BIDS data set, whose files are known by their names; leave --scan and --mask out")
        patients = find_patients(folder)
        places = [patient.image.relative_to(folder) for patient in patients]
        names = [place.with_name(without_ending(place.name)[: -len(SCAN)] + PREDICTED) for place in places]
        files = [(patient.image, patient.brain) for patient in patients]
    else:
        paired, faults = pair_by_patterns(folder, scan or "*", "", brain)
        if faults:
            raise InputError(f"segment: {len(faults)} faults, nothing written; mend and run again", *faults)
        files = [(sources.scan, sources.brain) for sources in paired]
        names = [Path(without_ending(sources.name)) for sources in paired]
    works = [Work(image, mask, target / f"{name}.nii.gz") for (image, mask), name in zip(files, names, strict=True)]
    by_target: dict[Path, Path] = {}
    for work in works:
        if (other := by_target.setdefault(work.target, work.scan)) != work.scan:
            raise InputError(f"{work.scan}: would have the same mask as {other}; rename one of them, or narrow --scan")
    return works


def segment_many(works: Sequence[Work], model: str, *, force: bool = False, report: Path | None = None, device: str = "auto") -> list[str]:
    """Segment scans one after the other. Scans that fail are reported at the end and do not stop the others.

    Args:
        works: the scans and the masks to write.
        model, force, report, device: as of `segment`.

    Returns:
        A line for each scan.

    Raises:
        InputError: before the first scan, if the model is unusable, the device does not exist, or a file would be overwritten; after the
            last, with a line for each scan without a mask.
    """
    for work in works:
        refuse_overwriting(work, report, force)
    lines: list[str] = []
    faults: list[str] = []
    volumes: list[VolumeReport] = []
    with on_device(device), loaded_model(model, works[0].target) as (segmenter, intensity, described):
        for number, work in enumerate(progress(works, "segment", len(works)), start=1):
            try:
                line, volume = segment_one(work, segmenter, intensity, force, number=number, shown=False)
            except InputError as error:
                faults += error.lines
                volume = VolumeReport(number, fault=_without_paths(error.lines[0], work, number))
            else:
                lines.append(line)
            volumes.append(volume)
    leave_report(report, described, volumes)
    if faults:
        raise InputError(f"segment: {len(works) - len(lines)} of {len(works)} scans have no mask; the others have one", *faults)
    return lines


def _without_paths(line: str, work: Work, number: int) -> str:
    """Replace the names of files in a fault, because they may contain patients' names."""
    for path, kind in ((work.target, "its mask"), (work.brain, "its brain mask"), (work.scan, f"volume {number}")):
        if path is not None:
            for text in (str(path), path.name):
                line = line.replace(text, kind)
    return line
