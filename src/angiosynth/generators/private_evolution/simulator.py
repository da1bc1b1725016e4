"""Pairs of image and label drawn by the phantom: for the description of a candidate, and for the set."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from angiosynth.arrays import Image, ImagePatches, LabelPatches, Mask, to_levels
from angiosynth.data.patch_centres import BRIGHT_QUANTILE, cut_square
from angiosynth.generators.base import CHUNK
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.space import DIMENSIONS, Candidate, candidate_at
from angiosynth.phantom.anatomy import Anatomy, draw_anatomy

USUAL = Candidate(2, 0.12, 0.45, 1.9, 1.0, 1.0, 0.075, 0.3, 0.22)  # the phantom's defaults: they say where bright look-alikes are
KEPT_VOXELS, MOST_KEPT = 12_000_000, 64  # of the heads in memory, about 12 bytes a voxel
DRAWN = 64  # samples of the posterior that a set is drawn from
THRESHOLD = 0.0  # of the label's channel, 2 * fraction - 1: half a voxel of artery


@dataclass(frozen=True)
class Head:
    """An anatomy with what is cut from it.

    `fraction`: of each voxel that is artery. `centres`: flat indices (m,) of the voxels that are vessel, bright, anywhere in the brain.
    """

    anatomy: Anatomy
    fraction: NDArray[np.float32]
    centres: tuple[NDArray[np.int32], ...]


_kept: OrderedDict[tuple[Any, ...], Head] = OrderedDict()  # by all that a head depends on, the last used at the end


def head_of(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int, number: int, is_diseased: bool) -> Head:
    """A head, drawn where it is not among the last ones: candidates and scans share them."""
    key = (shape, spacing_mm, seed, number, is_diseased)
    if key not in _kept:
        room = max(1, min(MOST_KEPT, KEPT_VOXELS // math.prod(shape)))
        while len(_kept) >= room:
            _kept.popitem(last=False)
        _kept[key] = _drawn(draw_anatomy(*key), np.random.default_rng([seed, number]))
    _kept.move_to_end(key)
    return _kept[key]


def _drawn(anatomy: Anatomy, rng: np.random.Generator) -> Head:
    fraction = anatomy.vessel_fraction()
    label = fraction >= 0.5
    # Bright look-alikes are veins and plexus: which they are depends on the anatomy, so one scan of it tells for all scanners.
    image = anatomy.scanned(USUAL, rng)
    away = anatomy.brain & ~binary_dilation(label, iterations=2)
    bright = away & (image >= np.quantile(image[away], BRIGHT_QUANTILE)) if away.any() else away
    masks: tuple[Mask, ...] = (label, bright, anatomy.brain)
    return Head(anatomy, fraction, tuple(np.flatnonzero(mask).astype(np.int32) for mask in masks))


def is_sick(number: int, share: float) -> bool:
    """Whether a head has a stenosis or an occlusion: a `share` of any row of consecutive numbers."""
    return int((number + 1) * share) > int(number * share)


def draw_centres(head: Head, settings: PrivatePhantomSettings, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Centres (count, 3) of patches, in random order; kinds that a head has no voxel of are replaced by any voxels of the brain."""
    kinds = rng.choice(3, count, p=_shares(settings))
    centres = np.zeros(count, np.int64)
    for kind, voxels in enumerate(head.centres):
        rows = np.flatnonzero(kinds == kind)
        source = voxels if len(voxels) else head.centres[2]
        if len(source):  # else the grid shows no brain, and all patches are air
            centres[rows] = source[rng.integers(len(source), size=len(rows))]
    return np.stack(np.unravel_index(centres, head.fraction.shape), axis=1)


def _shares(settings: PrivatePhantomSettings) -> NDArray[np.float64]:
    shares = np.array([settings.vessel_share, settings.bright_share, 0.0])
    shares[2] = max(0.0, 1.0 - shares.sum())
    return np.asarray(shares / shares.sum())


def scan_head(head: Head, candidate: Candidate, percentiles: tuple[float, float], rng: np.random.Generator) -> Image:
    """A candidate's scan of a head, scaled to [-1, 1] by percentiles of the brain as a patient's scan is."""
    image = head.anatomy.scanned(candidate, rng).astype(np.float32)
    inside = image[head.anatomy.brain]
    low, high = np.percentile(inside, percentiles) if inside.size else (0.0, 0.0)
    scaled = np.clip((image - np.float32(low)) * np.float32(2.0 / max(high - low, 1.0)) - np.float32(1.0), -1, 1)
    scaled[~head.anatomy.brain] = -1.0
    return np.asarray(scaled, np.float32)


def cut(volume: NDArray[np.float32], centres: NDArray[np.int64], size: int, outside: float) -> NDArray[np.float32]:
    """Squares (n, size, size) around centres (n, 3) in their axial slices."""
    return np.stack([cut_square(volume[:, :, z], x, y, size, outside) for x, y, z in centres.tolist()])


class Simulator(nn.Module):
    """The candidates that a set is drawn from, as buffers: what a trained generator of this kind consists of.

    Buffers:
        points: (n, DIMENSIONS) of the unit cube, `kept` winners or DRAWN samples of the posterior.
        weights: (n,) share of each in the set.
        percentiles: (2,) of the brain that become -1 and 1, as section cohort.intensity has them.
    """

    points: Tensor
    weights: Tensor
    percentiles: Tensor

    def __init__(self, settings: PrivatePhantomSettings, patch_size: int) -> None:
        super().__init__()
        self.settings, self.patch_size = settings, patch_size
        count = settings.kept if settings.proposals == "winners" else DRAWN
        self.register_buffer("points", torch.full((count, DIMENSIONS), 0.5, dtype=torch.float64))
        self.register_buffer("weights", torch.full((count,), 1.0 / count, dtype=torch.float64))
        self.register_buffer("percentiles", torch.tensor([0.5, 99.9], dtype=torch.float64))

    def forward(self, seeds: Tensor) -> Tensor:
        """Pairs (n, 2, x, y) in [-1, 1], drawn by seeds (n, 1): the interface of a network, for pictures and tests."""
        chunks = [next(self.drawn(1, int(abs(seed)) % 2**31)) for seed in seeds[:, 0].tolist()]
        return torch.from_numpy(np.concatenate([np.stack(chunk, axis=1) for chunk in chunks]))

    def drawn(self, count: int, seed: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """`count` pairs, a few hundred at a time: images (n, x, y) in [-1, 1] and labels as 2 * fraction - 1.

        A chunk is one candidate's scan of one head; a head is drawn for every `patches_a_head` pairs.
        """
        settings = self.settings
        points, low_high = self.points.cpu().numpy(), (float(self.percentiles[0]), float(self.percentiles[1]))
        for start in range(0, count, CHUNK):
            rng = np.random.default_rng([seed, start])
            number = start // max(CHUNK, settings.patches_a_head)
            head = head_of(settings.shape, settings.spacing_mm, seed, number, is_sick(number, settings.diseased))
            winner = points[rng.choice(len(points), p=_normalised(self.weights.cpu().numpy()))]
            # all draws of a chunk are made, so that a shorter set is the beginning of a longer one
            image = scan_head(head, candidate_at(winner), low_high, rng)
            centres = draw_centres(head, settings, CHUNK, rng)[: count - start]
            yield cut(image, centres, self.patch_size, -1.0), cut(2 * head.fraction - 1, centres, self.patch_size, -1.0)


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.maximum(weights, 0)
    return positive / positive.sum() if positive.sum() > 0 else np.full(len(weights), 1 / len(weights))


class SimulatorSampler:
    """Draws pairs from a simulator: a `Sampler`. Labels are exact: half a voxel of artery or more, unless a threshold says otherwise."""

    def __init__(self, simulator: Simulator) -> None:
        self.network = simulator

    def example(self) -> NDArray[np.float32]:
        """Two seeds."""
        return np.array([[1.0], [2.0]], np.float32)

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """`count` pairs, (n, x, y) each, the same ones for the same seed and candidates."""
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """The same pairs a few hundred at a time."""
        least = THRESHOLD if threshold is None else threshold
        for image, label in self.network.drawn(count, seed):
            yield to_levels(image), (label >= least).astype(np.uint8)


def loaded(settings: PrivatePhantomSettings, patch_size: int, weights: Mapping[str, Tensor]) -> Simulator:
    """A simulator with these weights. Raises RuntimeError where they do not fit."""
    simulator = Simulator(settings, patch_size)
    simulator.load_state_dict(weights)
    return simulator.eval()
