"""Position and scaling of the frames of an enhanced DICOM object.

Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom

from angiosynth.errors import InputError

DCM2NIIX = "convert the series with dcm2niix"
MOST_FRAMES = 4096
# Element of a frame's functional groups -> sequence that contains it.
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}


def frames_of(header: Any, frames: int, path: Path) -> list[Any]:
    """Position and scaling elements of each frame, from its per-frame functional groups or else from the shared ones."""
    if frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [header]
    try:
        shared, each = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()], header.get("PerFrameFunctionalGroupsSequence")
        if not each or not len(each) == frames <= MOST_FRAMES:
            raise InputError(f"{path}: holds {frames} frames in one file that do not say where they lie; {DCM2NIIX}")
        return [_frame_of(group, shared[0]) for group in each]
    except InputError:
        raise
    except Exception as error:  # pydicom raises various exceptions for a damaged element
        raise InputError(f"{path}: the places of its frames are damaged; export the series again") from error


def _frame_of(group: Any, shared: Any) -> Any:
    place = pydicom.Dataset()
    for name, sequence in GROUPS.items():
        for source in (group, shared):
            if sequence in source and name in source[sequence].value[0]:
                place[name] = source[sequence].value[0][name]
                break
    return place
