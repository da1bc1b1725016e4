"""Vessels of whole volumes, slice by slice.

Of a slice the U-net sees a window: the brain's box in that slice and 16 voxels or more on every side, with air (-1) wherever there is no
brain, also beyond the scan's own border. So:

- nothing is computed for slices without brain or far from it;
- a scan that is cut closer around the brain, or padded, gives the same mask to the last voxel, and no batch size changes it;
- against slices with air without end, in which the window's border is nowhere near, a few voxels in a thousand change (docs/benchmarks.md).

Without the margin the U-net marks vessels along the border of the box, and tiles with overlap do so along theirs: both were measured
worse than windows, by 0.03 to 0.04 DSC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from angiosynth.arrays import Image, Mask
from angiosynth.compute.precision import autocast
from angiosynth.errors import InputError
from angiosynth.runtime.progress import progress
from angiosynth.segmentation.unet import SIDE_MULTIPLE, Unet

THRESHOLD = 0.5
AIR = -1.0
MARGIN = SIDE_MULTIPLE
# Of a batch of windows. A processor is fastest where activations stay near it; elsewhere they are kept under about a gigabyte.
VOXELS_AT_ONCE, VOXELS_AT_ONCE_ON_CPU = 600_000, 150_000


@dataclass(frozen=True)
class Window:
    """Where the U-net looks: slice z, from a corner on (x, y), which may lie outside the volume."""

    z: int
    corner: tuple[int, int]
    sides: tuple[int, int]  # multiples of 16

    def within(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part that is inside a volume of this shape: in the volume's coordinates, and in the window's."""
        ranges = [(max(0, at), min(length, at + side)) for at, side, length in zip(self.corner, self.sides, shape, strict=False)]
        there = tuple(slice(first, last) for first, last in ranges)
        here = tuple(slice(first - at, last - at) for (first, last), at in zip(ranges, self.corner, strict=True))
        return (there[0], there[1]), (here[0], here[1])


@dataclass(frozen=True)
class Segmenter:
    """A trained U-net with what its input is standardised by."""

    unet: Unet
    mean: float
    deviation: float
    precision: str = "auto"
    name: str = "U-net"  # or its file, for messages

    @torch.no_grad()
    def segment(self, image: Image, brain: Mask, what: str | None = None) -> Mask:
        """Vessels inside the brain.

        Args:
            image: (x, y, z) in [-1, 1] by the intensity rule that the U-net was trained with.
            brain: (x, y, z); nothing outside is looked at or found.
            what: names the work where progress is to be told.

        Returns:
            (x, y, z) bool.

        Raises:
            InputError: the U-net gives NaN or infinity anywhere.
        """
        found = np.zeros(image.shape, np.bool_)
        where = next(self.unet.parameters()).device
        self.unet.eval()
        work = list(batches(windows(brain), VOXELS_AT_ONCE_ON_CPU if where.type == "cpu" else VOXELS_AT_ONCE))
        for batch in progress(work, what, len(work)) if what else work:
            seen = np.full((len(batch), 1, *batch[0].sides), AIR, np.float32)
            for row, window in enumerate(batch):
                there, here = window.within(brain.shape)
                at = (*there, window.z)
                seen[(row, 0, *here)] = np.where(brain[at], image[at], np.float32(AIR))
            standardised = ((torch.from_numpy(seen) - self.mean) / self.deviation).to(where, memory_format=torch.channels_last)
            with autocast(self.precision, where):
                logits = self.unet(standardised)[:, 0]
            if not torch.isfinite(logits).all():
                raise InputError(f"{self.name}: its output is not finite: it diverged, or its weights are damaged; train it again")
            vessel = (logits.float().sigmoid() > THRESHOLD).cpu().numpy()
            for row, window in enumerate(batch):
                there, here = window.within(brain.shape)
                at = (*there, window.z)
                found[at] = vessel[(row, *here)] & brain[at]
        return found


def windows(brain: Mask) -> list[Window]:
    """A window for every slice with brain. Their corners lie on one grid of 16 voxels, so that pooling joins the same voxels in all."""
    spans = [_spans(np.asarray(brain.any(axis=across))) for across in (1, 0)]  # along x, along y
    slices = np.flatnonzero(brain.any(axis=(0, 1)))
    if slices.size == 0:
        return []
    corners, sides = [], []
    for first, last in spans:
        origin = int(first[slices].min()) - MARGIN
        start = origin + (first - MARGIN - origin) // SIDE_MULTIPLE * SIDE_MULTIPLE
        corners.append(start)
        sides.append(-((start - last - MARGIN) // SIDE_MULTIPLE) * SIDE_MULTIPLE)
    return [Window(int(z), (int(corners[0][z]), int(corners[1][z])), (int(sides[0][z]), int(sides[1][z]))) for z in slices]


def batches(found: Sequence[Window], voxels: int) -> Iterator[list[Window]]:
    """Windows of equal sides together, as many as make up the voxels, at least one."""
    alike: defaultdict[tuple[int, int], list[Window]] = defaultdict(list)
    for window in found:
        alike[window.sides].append(window)
    for sides, group in alike.items():
        count = max(1, voxels // (sides[0] * sides[1]))
        yield from (group[start : start + count] for start in range(0, len(group), count))


def _spans(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n, z) -> the first set place and the one after the last, for each z; 0 and n where none is set."""
    return flags.argmax(axis=0), len(flags) - flags[::-1].argmax(axis=0)
