"""Pairs of image and label simulated by the phantom, for the statistics of candidates and for the synthetic set."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from angiosynth.arrays import Image, ImagePatches, LabelPatches, Mask, to_levels
from angiosynth.data.patch_centres import bright_voxels, cut_square
from angiosynth.generators.base import CHUNK
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.space import DIMENSIONS, Candidate, candidate_at
from angiosynth.phantom.anatomy import Anatomy, draw_anatomy

DEFAULTS = Candidate(2, 0.12, 0.45, 1.9, 1.0, 1.0, 0.075, 0.3, 0.22)  # the phantom's defaults, whose scan locates bright non-vessels
KEPT_VOXELS, MOST_KEPT = 12_000_000, 64  # limits on voxels and heads in memory, about 12 bytes per voxel
DRAWN = 64  # samples of the posterior from which a set is drawn
THRESHOLD = 0.0  # of the label's channel, 2 * fraction - 1: at least half of the voxel is artery


@dataclass(frozen=True)
class Head:
    """An anatomy, with its label and the possible centres of patches.

    Attributes:
        fraction: (x, y, z) fraction of each voxel that is artery.
        centres: flat indices (m,) of the voxels that are vessel, bright but no vessel, and anywhere in the brain.
    """

    anatomy: Anatomy
    fraction: NDArray[np.float32]
    centres: tuple[NDArray[np.int32], ...]


_kept: OrderedDict[tuple[Any, ...], Head] = OrderedDict()  # by the arguments of `head_of`, least recently used first


def head_of(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int, number: int, is_diseased: bool) -> Head:
    """Return a head from the cache, or draw it; candidates and scans share heads."""
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
    # Bright non-vessels are veins and plexus. They depend on the anatomy only, so one scan locates them for all scanners.
    image = anatomy.scanned(DEFAULTS, rng)
    away = anatomy.brain & ~binary_dilation(label, iterations=2)
    bright = bright_voxels(image, away)
    masks: tuple[Mask, ...] = (label, bright, anatomy.brain)
    return Head(anatomy, fraction, tuple(np.flatnonzero(mask).astype(np.int32) for mask in masks))


def is_sick(number: int, share: float) -> bool:
    """Whether a head has a stenosis or an occlusion: true for a fraction `share` of consecutive numbers."""
    return int((number + 1) * share) > int(number * share)


def draw_centres(head: Head, settings: PrivatePhantomSettings, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw centres (count, 3) of patches, in random order; kinds of which a head has no voxel are replaced by random brain voxels."""
    return _drawn_centres(head, head.centres, (settings.vessel_share, settings.bright_share), count, rng)


def draw_unlabelled_centres(
    head: Head, image: Image, settings: PrivatePhantomSettings, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw centres (count, 3) in a scan (x, y, z) of a head as `data.patch_centres.draw_unlabelled_centres` does in a patient's."""
    bright = np.flatnonzero(bright_voxels(image, head.anatomy.brain))
    return _drawn_centres(head, (bright, head.centres[2]), (settings.vessel_share + settings.bright_share,), count, rng)


def _drawn_centres(
    head: Head, voxels_of: Sequence[NDArray[Any]], shares: tuple[float, ...], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw centres (count, 3) of each kind, of which the last, anywhere in the brain, has the share that the others leave."""
    rest = max(0.0, 1.0 - sum(shares))
    probabilities = np.array([*shares, rest]) / (sum(shares) + rest)
    kinds = rng.choice(len(probabilities), count, p=probabilities)
    centres = np.zeros(count, np.int64)
    for kind, voxels in enumerate(voxels_of):
        rows = np.flatnonzero(kinds == kind)
        source = voxels if len(voxels) else head.centres[2]
        if len(source):  # otherwise the grid contains no brain, and all patches are air
            centres[rows] = source[rng.integers(len(source), size=len(rows))]
    return np.stack(np.unravel_index(centres, head.fraction.shape), axis=1)


def scan_head(head: Head, candidate: Candidate, percentiles: tuple[float, float], rng: np.random.Generator) -> Image:
    """Simulate a candidate's scan of a head, scaled to [-1, 1] by percentiles of the brain, as patients' scans are."""
    image = head.anatomy.scanned(candidate, rng).astype(np.float32)
    inside = image[head.anatomy.brain]
    low, high = np.percentile(inside, percentiles) if inside.size else (0.0, 0.0)
    scaled = np.clip((image - np.float32(low)) * np.float32(2.0 / max(high - low, 1.0)) - np.float32(1.0), -1, 1)
    scaled[~head.anatomy.brain] = -1.0
    return np.asarray(scaled, np.float32)


def cut(volume: NDArray[np.float32], centres: NDArray[np.int64], size: int, outside: float) -> NDArray[np.float32]:
    """Cut squares (n, size, size) around centres (n, 3) from their axial slices; `outside` is the value beyond the volume."""
    return np.stack([cut_square(volume[:, :, z], x, y, size, outside) for x, y, z in centres.tolist()])


class Simulator(nn.Module):
    """The trained generator: the candidates from which a set is drawn, as buffers.

    Buffers:
        points: (n, DIMENSIONS) in the unit cube, `kept` winners or DRAWN samples of the posterior.
        weights: (n,) share of each candidate in the set.
        percentiles: (2,) percentiles of the brain that are scaled to -1 and 1, as in section cohort.intensity.
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
        """Draw pairs (n, 2, x, y) in [-1, 1] from seeds (n, 1): the interface of a network, for pictures and tests."""
        chunks = [next(self.drawn(1, int(abs(seed)) % 2**31)) for seed in seeds[:, 0].tolist()]
        return torch.from_numpy(np.concatenate([np.stack(chunk, axis=1) for chunk in chunks]))

    def drawn(self, count: int, seed: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Draw `count` pairs in chunks of at most CHUNK: images (n, x, y) in [-1, 1] and labels (n, x, y) as 2 * fraction - 1.

        A chunk is cut from one candidate's scan of one head; a new head is drawn for every `patches_a_head` pairs.
        """
        settings = self.settings
        points, low_high = self.points.cpu().numpy(), (float(self.percentiles[0]), float(self.percentiles[1]))
        for start in range(0, count, CHUNK):
            rng = np.random.default_rng([seed, start])
            number = start // max(CHUNK, settings.patches_a_head)
            head = head_of(settings.shape, settings.spacing_mm, seed, number, is_sick(number, settings.diseased))
            winner = points[rng.choice(len(points), p=_normalised(self.weights.cpu().numpy()))]
            # draw whole chunks, so that a shorter set is the beginning of a longer one
            image = scan_head(head, candidate_at(winner), low_high, rng)
            centres = draw_centres(head, settings, CHUNK, rng)[: count - start]
            yield cut(image, centres, self.patch_size, -1.0), cut(2 * head.fraction - 1, centres, self.patch_size, -1.0)


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.maximum(weights, 0)
    return positive / positive.sum() if positive.sum() > 0 else np.full(len(weights), 1 / len(weights))


class SimulatorSampler:
    """A `Sampler` of a simulator. Without a threshold, label voxels are those of which at least half is artery."""

    def __init__(self, simulator: Simulator) -> None:
        self.network = simulator

    def example(self) -> NDArray[np.float32]:
        """Two seeds."""
        return np.array([[1.0], [2.0]], np.float32)

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """Draw `count` pairs, (count, x, y) each, determined by seed and candidates."""
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """Draw the same pairs as `pairs`, in chunks."""
        least = THRESHOLD if threshold is None else threshold
        for image, label in self.network.drawn(count, seed):
            yield to_levels(image), (label >= least).astype(np.uint8)


def loaded(settings: PrivatePhantomSettings, patch_size: int, weights: Mapping[str, Tensor]) -> Simulator:
    """Return a simulator with these weights.

    Raises:
        RuntimeError: the weights do not fit.
    """
    simulator = Simulator(settings, patch_size)
    simulator.load_state_dict(weights)
    return simulator.eval()
