"""Segment the vessels of a TOF-MRA scan with the U-net of this bundle, slice by slice: network, intensity rule and inferer for MONAI.

The input for a slice is a window: the bounding box of the brain in that slice with a margin of at least 16 voxels on every side. Voxels
outside the brain or beyond the scan's border are air (-1). Needs torch, numpy, safetensors and MONAI.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from safetensors.torch import load_file
from scripts.unet import SIDE_MULTIPLE, Unet
from torch import Tensor, nn

AIR = -1.0
MARGIN = SIDE_MULTIPLE
VOXELS_AT_ONCE = 150_000  # in a batch of windows; does not affect the results


class VesselNet(nn.Module):
    """Map images (n, 1, x, y) in [-1, 1], -1 outside the brain, to vessel probabilities (n, 1, x, y); sides are multiples of 16."""

    def __init__(self, width: int, mean: float, deviation: float, weights: str = "") -> None:
        super().__init__()
        self.unet = Unet(width)
        self.mean, self.deviation = mean, deviation
        if weights:
            self.unet.load_state_dict(load_file(weights))

    def forward(self, image: Tensor) -> Tensor:
        standardised = ((image - self.mean) / self.deviation).to(memory_format=torch.channels_last)
        probability: Tensor = self.unet(standardised).float().sigmoid()
        return probability


class ScaleByBraind(MapTransform):  # type: ignore[misc]
    """Scale an image so that percentiles inside the brain become -1 and 1; voxels outside become -1.

    Args:
        keys: keys of the images.
        brain_key: key of the brain mask, which is not 0 inside the brain.
        low, high: percentiles.
    """

    def __init__(self, keys: Any, brain_key: str, low: float, high: float) -> None:
        super().__init__(keys)
        self.brain_key, self.percentiles = brain_key, (low, high)

    def __call__(self, data: Any) -> dict[Any, Any]:
        scaled = dict(data)
        brain = np.asarray(scaled[self.brain_key]) > 0
        for key in self.keys:
            array = np.array(scaled[key], np.float32)
            bottom, top = (float(value) for value in np.percentile(array[brain], self.percentiles))
            if not top > bottom:
                raise ValueError(f"no contrast inside the brain: percentiles {self.percentiles} are {bottom:g} and {top:g}")
            array -= np.float32(bottom)
            array *= np.float32(2.0 / (top - bottom))
            array -= np.float32(1.0)
            np.clip(array, -1.0, 1.0, out=array)
            array[~brain] = AIR
            scaled[key] = MetaTensor(torch.from_numpy(array), meta=scaled[key].meta, applied_operations=scaled[key].applied_operations)
        return scaled


class BrainWindows(Inferer):  # type: ignore[misc]
    """Apply a network to every slice of a volume (1, 2, x, y, z), where channel 0 is the scaled image and channel 1 the brain mask.

    Returns probabilities (1, 1, x, y, z), 0 outside the brain.
    """

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        image, brain = np.asarray(inputs[0, 0].cpu()), np.asarray(inputs[0, 1].cpu()) > 0
        probability = np.zeros(image.shape, np.float32)
        for sides, group in _batches(brain):
            windows = np.full((len(group), 1, *sides), AIR, np.float32)
            for row, (z, corner) in enumerate(group):
                volume, window = _overlap(corner, sides, brain.shape)
                windows[(row, 0, *window)] = np.where(brain[(*volume, z)], image[(*volume, z)], np.float32(AIR))
            drawn = network(torch.from_numpy(windows).to(inputs.device)).cpu().numpy()
            for row, (z, corner) in enumerate(group):
                volume, window = _overlap(corner, sides, brain.shape)
                probability[(*volume, z)] = np.where(brain[(*volume, z)], drawn[(row, 0, *window)], np.float32(0.0))
        result = torch.from_numpy(probability)[None, None].to(inputs.device)
        if isinstance(inputs, MetaTensor):  # so that MONAI can invert the orientation
            result = MetaTensor(result, meta=inputs.meta, applied_operations=inputs.applied_operations)
        return result


def _batches(brain: np.ndarray[Any, Any]) -> Iterator[tuple[tuple[int, int], list[tuple[int, tuple[int, int]]]]]:
    """Yield batches of windows (z, corner) of equal sides. Corners lie on a grid of 16, so that pooling joins the same voxels."""
    slices = np.flatnonzero(brain.any(axis=(0, 1)))
    if slices.size == 0:
        return
    corners, sides = [], []
    for across in (1, 0):
        flags = np.asarray(brain.any(axis=across))
        first, last = flags.argmax(axis=0), len(flags) - flags[::-1].argmax(axis=0)
        origin = int(first[slices].min()) - MARGIN
        start = origin + (first - MARGIN - origin) // SIDE_MULTIPLE * SIDE_MULTIPLE
        corners.append(start)
        sides.append(-((start - last - MARGIN) // SIDE_MULTIPLE) * SIDE_MULTIPLE)
    alike: defaultdict[tuple[int, int], list[tuple[int, tuple[int, int]]]] = defaultdict(list)
    for z in slices.tolist():
        alike[(int(sides[0][z]), int(sides[1][z]))].append((z, (int(corners[0][z]), int(corners[1][z]))))
    for shape, group in alike.items():
        count = max(1, VOXELS_AT_ONCE // (shape[0] * shape[1]))
        yield from ((shape, group[start : start + count]) for start in range(0, len(group), count))


def _overlap(corner: tuple[int, int], sides: tuple[int, int], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Overlap of a window with a volume as slices (x, y): in the volume's coordinates, and in the window's."""
    ranges = [(max(0, at), min(length, at + side)) for at, side, length in zip(corner, sides, shape, strict=False)]
    volume = [slice(first, last) for first, last in ranges]
    window = [slice(first - at, last - at) for (first, last), at in zip(ranges, corner, strict=True)]
    return (volume[0], volume[1]), (window[0], window[1])
