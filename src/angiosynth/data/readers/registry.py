"""Select the reader of a path by the suffix of its name, or as a folder of DICOM slices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from angiosynth.data.formats import TUBES
from angiosynth.data.readers.described import Described
from angiosynth.data.readers.metaimage import describe_metaimage
from angiosynth.data.readers.nrrd import describe_nrrd
from angiosynth.data.readers.pairs import describe_pair
from angiosynth.errors import InputError


def _refuse_tubes(path: Path) -> Described:
    raise InputError(f"{path}: holds tubes, no image; `import --vessels` takes them as a label")


READERS: tuple[tuple[re.Pattern[str], Callable[[Path], Described]], ...] = (
    (re.compile(r"\.mh[ad]$", re.IGNORECASE), describe_metaimage),
    (re.compile(r"\.n(rrd|hdr)$", re.IGNORECASE), describe_nrrd),
    (re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE), describe_pair),
    (TUBES, _refuse_tubes),
)


def described(path: Path, series: int | None = None) -> Described | None:
    """Read the header of a volume in another format than single-file NIfTI; None if the path is to be read as NIfTI.

    Args:
        path: a file, or a folder of DICOM slices.
        series: number of the series to read from a folder.

    Raises:
        InputError: the header is damaged or unsupported.
    """
    if path.is_dir():
        from angiosynth.data.readers.series import describe_series  # pydicom takes half a second to import

        return describe_series(path, series)
    return next((reader(path) for ending, reader in READERS if ending.search(path.name)), None)
