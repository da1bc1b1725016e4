"""Segmentation of whole volumes, slice by slice.

The input for a slice is a window: the bounding box of the brain in that slice, with a margin of at least 16 voxels on every side. Voxels
outside the brain or beyond the scan's border are set to air (-1). Consequences:

- Nothing is computed for slices without brain or for regions far from it.
- Cropping or padding the scan, or another batch size, changes no voxel of the mask.
- Compared with slices padded by much more air, a few voxels in a thousand change (docs/benchmarks.md).

Without the margin the U-net predicts vessels along the border of the box, and overlapping tiles have the same defect. Both were measured
to be worse than windows, by 0.03 to 0.04 DSC.
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
# Voxels in a batch of windows. On a CPU small batches keep the activations in the cache; on a GPU activations stay below about a gigabyte.
VOXELS_AT_ONCE, VOXELS_AT_ONCE_ON_CPU = 600_000, 150_000


@dataclass(frozen=True)
class Window:
    """A rectangle in slice z, given by a corner (x, y), which may lie outside the volume, and its sides."""

    z: int
    corner: tuple[int, int]
    sides: tuple[int, int]  # multiples of 16

    def within(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the overlap with a volume of this shape as slices (x, y): in the volume's coordinates, and in the window's."""
        ranges = [(max(0, at), min(length, at + side)) for at, side, length in zip(self.corner, self.sides, shape, strict=False)]
        in_volume = tuple(slice(first, last) for first, last in ranges)
        in_window = tuple(slice(first - at, last - at) for (first, last), at in zip(ranges, self.corner, strict=True))
        return (in_volume[0], in_volume[1]), (in_window[0], in_window[1])


@dataclass(frozen=True)
class Segmenter:
    """A trained U-net with the mean and standard deviation that standardise its input."""

    unet: Unet
    mean: float
    deviation: float
    precision: str = "auto"
    name: str = "U-net"  # for messages; the path of the weights if they were loaded

    def segment(self, image: Image, brain: Mask, title: str | None = None) -> Mask:
        """Segment the vessels inside the brain.

        Args:
            image: (x, y, z) in [-1, 1], by the intensity rule with which the U-net was trained.
            brain: (x, y, z) boolean; voxels outside are neither read nor marked.
            title: title of the progress bar; None shows none.

        Returns:
            (x, y, z) boolean.

        Raises:
            InputError: an output of the U-net is not finite.
        """
        mask = np.zeros(image.shape, np.bool_)
        work = list(batches(windows(brain), self.voxels_at_once()))
        for batch in progress(work, title, len(work)) if title else work:
            # gather the voxels of the windows; voxels without brain are air
            inputs = np.full((len(batch), *batch[0].sides), AIR, np.float32)
            for row, window in enumerate(batch):
                in_volume, in_window = window.within(brain.shape)
                at = (*in_volume, window.z)
                inputs[(row, *in_window)] = np.where(brain[at], image[at], np.float32(AIR))
            # threshold, and copy the vessels into the volume
            vessel = self.probabilities(inputs) > THRESHOLD
            for row, window in enumerate(batch):
                in_volume, in_window = window.within(brain.shape)
                at = (*in_volume, window.z)
                mask[at] = vessel[(row, *in_window)] & brain[at]
        return mask

    @torch.no_grad()
    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of vessel (n, x, y) of windows or patches (n, x, y) in [-1, 1], their sides multiples of 16.

        Raises:
            InputError: an output of the U-net is not finite.
        """
        device = next(self.unet.parameters()).device
        self.unet.eval()
        standardised = ((torch.from_numpy(images)[:, None] - self.mean) / self.deviation).to(device, memory_format=torch.channels_last)
        with autocast(self.precision, device):
            logits = self.unet(standardised)[:, 0]
        if not torch.isfinite(logits).all():
            raise InputError(f"{self.name}: its output is not finite: it diverged, or its weights are damaged; train it again")
        probability: NDArray[np.float32] = logits.float().sigmoid().cpu().numpy()
        return probability

    def voxels_at_once(self) -> int:
        """Return the number of voxels of a batch, by the device of the U-net."""
        return VOXELS_AT_ONCE_ON_CPU if next(self.unet.parameters()).device.type == "cpu" else VOXELS_AT_ONCE


def windows(brain: Mask) -> list[Window]:
    """One window for each slice that contains brain.

    Corners lie on a common grid of 16 voxels, so that the max pooling of every window joins the same voxels. The grid starts at the brain,
    not at the border of the scan, so that cropping or padding changes nothing.
    """
    spans = [_spans(np.asarray(brain.any(axis=across))) for across in (1, 0)]  # along x, along y
    slices = np.flatnonzero(brain.any(axis=(0, 1)))
    if slices.size == 0:
        return []
    corners, sides = [], []
    for first, last in spans:
        # For each slice: round the box's start, less the margin, down to the grid, and its length, with both margins, up to a multiple.
        origin = int(first[slices].min()) - MARGIN
        start = origin + (first - MARGIN - origin) // SIDE_MULTIPLE * SIDE_MULTIPLE
        corners.append(start)
        sides.append(-((start - last - MARGIN) // SIDE_MULTIPLE) * SIDE_MULTIPLE)
    return [Window(int(z), (int(corners[0][z]), int(corners[1][z])), (int(sides[0][z]), int(sides[1][z]))) for z in slices]


def batches(windows: Sequence[Window], voxels: int) -> Iterator[list[Window]]:
    """Group windows of equal sides into batches of at most `voxels` voxels, but at least one window."""
    alike: defaultdict[tuple[int, int], list[Window]] = defaultdict(list)
    for window in windows:
        alike[window.sides].append(window)
    for sides, group in alike.items():
        count = max(1, voxels // (sides[0] * sides[1]))
        yield from (group[start : start + count] for start in range(0, len(group), count))


def _spans(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For flags (n, z), the index of the first set flag and one past the last one, for each z; 0 and n if none is set."""
    return flags.argmax(axis=0), len(flags) - flags[::-1].argmax(axis=0)
