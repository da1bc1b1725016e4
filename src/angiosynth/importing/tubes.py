"""Read vessels as tubes from .tre files of TubeTK and ITK (centre lines with radii), and draw them into a label on the grid of a scan.

The format (MetaIO, "Spatial Objects"; ITK's MetaTubeConverter) is text with lines `Key = value`; each object begins with ObjectType.
PointDim names the columns of the lines after `Points =`, of which x, y, z and r are used. A point lies at ElementSpacing * (x, y, z) +
Offset, in mm (left, posterior, superior); its radius is ElementSpacing[0] * r. A voxel belongs to a tube if the distance of its centre from
the segment between two consecutive points is at most the radius, which is interpolated linearly along the segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import Mask
from angiosynth.data.nifti import Volume
from angiosynth.data.readers.described import LPS_TO_RAS, real_numbers, whole_numbers
from angiosynth.errors import InputError
from angiosynth.reading import MIB, read_bytes

MOST_BYTES = 64 * MIB  # the arteries of a head have about 100,000 points of 100 bytes
MOST_POINTS = 1_000_000
MOST_RADIUS_MM = 20.0  # of an aneurysm; the internal carotid artery has 2.5
MOST_WORK = 1 << 29  # tested voxels, summed over the bounding boxes of all segments
MOST_OUTSIDE = 0.01  # fraction of points; more means that tubes and scan do not belong together
UNTURNED = np.eye(3).ravel().tolist()


@dataclass(frozen=True)
class Tube:
    """A tube with points_mm (n, 3), left-posterior-superior, and radii_mm (n,)."""

    points_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]


@dataclass
class _Object:
    """An object of the file: fields, and lines of points."""

    fields: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def read_tubes(path: Path) -> list[Tube]:
    """Read the tubes of a file; objects of other types are skipped.

    Raises:
        InputError: the file is damaged, too long, binary, or contains no tube; or an object is rotated, or shifted relative to a parent.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("ascii")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put the file there or remove what names it") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text; write the tubes anew with BinaryData = False") from error
    tubes = [_tube(item, path) for item in _objects(text, path) if item.fields.get("ObjectType") == "Tube"]
    if not tubes:
        raise InputError(f"{path}: holds no tube; copy it again")
    return tubes


def drawn_tubes(path: Path, scan: Volume) -> tuple[Mask, str]:
    """Draw the tubes of a file on the grid of a scan.

    Args:
        path: the file.
        scan: a volume in canonical order.

    Returns:
        Label (x, y, z), and a message on the drawn tubes.

    Raises:
        InputError: as `read_tubes`; or more than MOST_OUTSIDE of the points lie outside the scan, or a radius is impossible for vessels.
    """
    tubes = read_tubes(path)
    to_index = np.linalg.inv(scan.affine)
    mask = np.zeros(scan.array.shape, np.bool_, order="F")
    points = sum(len(tube.radii_mm) for tube in tubes)
    outside, work = 0, 0
    for tube in tubes:
        index = tube.points_mm @ LPS_TO_RAS.T @ to_index[:3, :3].T + to_index[:3, 3]
        outside += int(((index < -0.5) | (index > np.array(mask.shape) - 0.5)).any(axis=1).sum())
        work = _draw(mask, index, tube.radii_mm, scan.affine[:3, :3], work)
        if work > MOST_WORK:
            raise InputError(f"{path}: its tubes fill more than any head's; look at their radii, ElementSpacing and points")
    if outside > MOST_OUTSIDE * points:
        raise InputError(f"{path}: {outside} of {points} points lie outside the scan; check that tubes and scan belong together")
    return mask, f"vessels: {len(tubes)} tubes of {points} points drawn{f', {outside} points outside the scan left out' if outside else ''}"


def _objects(text: str, path: Path) -> Iterator[_Object]:
    """Yield the objects of the file. NPoints states the number of lines after `Points =`."""
    current, left = _Object(), 0
    for line in filter(str.strip, text.splitlines()):
        if left:
            current.lines.append(line)
            left -= 1
            continue
        key, sign, value = (token.strip() for token in line.partition("="))
        if not sign:
            raise InputError(f"{path}: damaged, {line[:40]!r} stands where a field should; copy it again")
        if key == "ObjectType" and current.fields:
            yield current
            current = _Object()
        current.fields[key] = value
        if key == "Points":
            left = whole_numbers(current.fields.get("NPoints", ""), 1, path, "NPoints")[0]
            if not 0 < left <= MOST_POINTS:
                raise InputError(f"{path}: a tube has {left} points, 1 to {MOST_POINTS:,} are read; copy it again")
    if left:
        raise InputError(f"{path}: is cut short, {left} points of the last tube are missing; copy it again")
    yield current


def _tube(item: _Object, path: Path) -> Tube:
    fields = item.fields
    if fields.get("BinaryData", "False")[:1] in "Tt1" or not item.lines:
        raise InputError(f"{path}: holds its points in binary form, or a tube without points; write it anew with BinaryData = False")
    if fields.get("NDims", "3") != "3":
        raise InputError(f"{path}: has tubes of {fields['NDims'][:10]} dimensions; three are needed")
    columns = fields.get("PointDim", "").split()
    if not {"x", "y", "z", "r"} <= set(columns):
        raise InputError(f"{path}: PointDim is {' '.join(columns)[:60]!r}; the columns x, y, z and r are needed")
    matrix = next((fields[name] for name in ("TransformMatrix", "Rotation", "Orientation") if name in fields), "")
    if matrix and real_numbers(matrix, 9, path, "TransformMatrix") != UNTURNED:
        raise InputError(f"{path}: has tubes that are turned by a TransformMatrix; write them untransformed")
    shift = next((fields[name] for name in ("Offset", "Position", "Origin") if name in fields), "0 0 0")
    offset = np.array(real_numbers(shift, 3, path, "Offset"))
    if offset.any() and fields.get("ParentID", "-1").strip() not in ("-1", "0"):
        raise InputError(f"{path}: has tubes that are shifted against their parents; write them untransformed")
    spacing = np.array(real_numbers(fields.get("ElementSpacing", "1 1 1"), 3, path, "ElementSpacing"))
    numbers = np.array([real_numbers(line, len(columns), path, "a point") for line in item.lines])
    x, y, z, r = (numbers[:, columns.index(name)] for name in ("x", "y", "z", "r"))
    radii = r * spacing[0]
    if (spacing <= 0).any() or (radii <= 0).any() or radii.max() > MOST_RADIUS_MM:
        raise InputError(f"{path}: has radii of {radii.min():.3g} to {radii.max():.3g} mm, which no vessel has; check r and ElementSpacing")
    return Tube(np.column_stack([x, y, z]) * spacing + offset, radii)


def _draw(mask: Mask, index: NDArray[np.float64], radii_mm: NDArray[np.float64], steps_mm: NDArray[Any], work: int) -> int:
    """Set the voxels of one tube; returns `work` plus the number of tested voxels, and stops beyond MOST_WORK.

    Args:
        mask: (x, y, z), changed in place.
        index: (n, 3) points in voxels.
        radii_mm: (n,) radii.
        steps_mm: (3, 3) linear map from voxels to mm.
        work: number of tested voxels of previous tubes.
    """
    # A tube thinner than a voxel could miss all voxel centres, so the voxel of each point always belongs to the tube.
    nearest = np.rint(index).astype(np.int64)
    nearest = nearest[((nearest >= 0) & (nearest < np.array(mask.shape))).all(axis=1)]
    mask[tuple(nearest.T)] = True
    if len(index) == 1:  # a single point is a ball: a segment of length 0
        index, radii_mm = np.repeat(index, 2, axis=0), np.repeat(radii_mm, 2)
    starts, ends, first, last = index[:-1], index[1:], radii_mm[:-1], radii_mm[1:]
    # Bounding boxes of the segments. Along axis a of the grid a ball of radius r extends r times the length of row a of the inverse map.
    margin = np.maximum(first, last)[:, None] * np.linalg.norm(np.linalg.inv(steps_mm), axis=1)
    low = np.maximum(0, np.ceil(np.minimum(starts, ends) - margin)).astype(np.int64)
    high = np.minimum(np.array(mask.shape), np.floor(np.maximum(starts, ends) + margin).astype(np.int64) + 1)
    work += int(np.prod(np.maximum(0, high - low).astype(np.float64), axis=1).sum())
    if work > MOST_WORK:
        return work
    # for each segment test the voxels of its box: project on the segment, compare the distance with the interpolated radius
    for place in np.flatnonzero((high > low).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[place], high[place], strict=True))
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low[place], high[place], strict=True)), indexing="ij"), -1)
        offset = (grid - starts[place]) @ steps_mm.T
        line = (ends[place] - starts[place]) @ steps_mm.T
        length2 = float(line @ line)
        along = np.clip(offset @ line / length2, 0, 1) if length2 > 0 else np.zeros(offset.shape[:-1])
        distance = np.linalg.norm(offset - along[..., None] * line, axis=-1)
        mask[box] |= distance <= first[place] + along * (last[place] - first[place])
    return work
