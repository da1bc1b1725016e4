"""A learnt copy detector: an embedding in which a patch stays near to itself when it is rotated, moved, deformed, blurred or made noisy.

The other searches undo changes that are listed beforehand. A generator may also deform a patch, or deform it and change its contrast,
which no list of poses undoes. Here a small network maps a patch onto the unit sphere. It learns by contrast (NT-Xent; Chen et al. 2020):
two altered views of one patch shall be nearer to each other than to all other patches. Copy detectors are trained so for photographs
(SSCD; Pizzi et al. 2022) and for medical images (LCMem, arXiv 2512.14421); DeepSSIM (arXiv 2509.16582) lets the embedding of altered
brain MRI follow the structural similarity of the unaltered.

It learns from heads that the phantom draws, and never sees a person. Had it learnt from people who were not trained on, their patches
would be spread apart in the embedding and training patients' would not, and these would seem nearer to any set, a harmless one too.

Symmetries are not learnt: every patch is embedded under all eight. No pose is searched for, so real patches that give the thresholds are
treated as synthetic ones are, and what is distinctive is so in the embedding alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.arrays import ImagePatches
from angiosynth.compute.precision import device
from angiosynth.privacy.alignment import Matches, Poses, symmetries
from angiosynth.privacy.drawn_patches import drawn_patches
from angiosynth.privacy.memorisation import CopySearch, Suspicion, ratio_of
from angiosynth.privacy.nearest import Indices, Points, as_points, nearest, nearest_of_each
from angiosynth.runtime.progress import progress
from angiosynth.settings import PatchSettings, ScannerSettings

# "Much nearer" in this embedding, at most; as `limits.copy_ratio`, which is for distances in pixels.
RATIO = 0.5
HEADS, OF_EACH = 8, {"on_vessels": 128, "on_bright": 96, "in_brain": 96}
SLAB, SPACING_MM = 32, 0.8  # slices of a drawn head; of a voxel, in the slice
MARGIN = 1.4  # side of a drawn slice, at least, in sides of a patch
BATCH, RATE, TEMPERATURE = 96, 0.002, 0.07
WIDTH, COORDINATES, CELLS = 24, 64, 4  # channels of the first layer, of the embedding, cells along a side before the last layer
# Alterations, each up to so much: degrees, sides of a patch, nats of contrast, grey levels in [-1, 1].
DEGREES, SHIFT, DEFORMATION, CONTRAST, BRIGHTNESS, NOISE = 15.0, 0.1, 0.06, 0.35, 0.1, 0.08
NODES = 4  # along a side, of a deformation
CHUNK = 2048  # images that are embedded at once


class Embedding(nn.Module):
    """(n, 1, x, y) images of zero mean -> (n, COORDINATES) on the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, more in ((1, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
            layers += [nn.Conv2d(channels, more, 3, stride=2, padding=1), nn.GroupNorm(4, more), nn.SiLU()]
        # Cells keep where in a patch something is, which tells patches apart.
        layers += [nn.AdaptiveAvgPool2d(CELLS), nn.Flatten(), nn.Linear(4 * WIDTH * CELLS**2, COORDINATES)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images), dim=1)


class CopyDetector:
    """A trained embedding.

    Args:
        weights: as `train_detector` returns them.
    """

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self._network = Embedding()
        self._network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
        self._network.to(device()).eval()

    @torch.no_grad()
    def embed(self, images: ImagePatches) -> Points:
        """Images (n, x, y) of levels -> (n, COORDINATES)."""
        chunks = _inputs(images).split(CHUNK)
        return torch.cat([self._network(chunk.to(device())).cpu() for chunk in chunks]).numpy()


def train_detector(size: int, steps: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Train an embedding on patches of drawn heads.

    Args:
        size: side of the patches that it is for, in pixels.
        steps: of BATCH patches.
        seed: of heads, weights, batches and alterations.

    Returns:
        Weights by name.
    """
    images = _inputs(_training_patches(size, seed))
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Embedding().to(device())
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in progress(range(steps), "copy detector", steps):
        batch = images[torch.randperm(len(images), generator=random)[:BATCH]]
        views = torch.cat([altered(batch, random), altered(batch, random)])
        loss = contrastive_loss(network(views.to(device())))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: values.cpu().numpy() for name, values in network.state_dict().items()}


@dataclass(frozen=True)
class EmbeddedPeople:
    """Points (m, COORDINATES) of training patients' patches and of others', and the number of each patch's person on either side."""

    training: Points
    training_person: Indices
    others: Points
    others_person: Indices


def search_embedded(images: ImagePatches, people: EmbeddedPeople, detector: CopyDetector, excluded: Indices | None = None) -> CopySearch:
    """Suspect for each query one training patient and one person who was not trained on, in the embedding, under all symmetries.

    Args:
        images: (n, x, y) of levels, the queries.
        people: whom they may repeat.
        detector: of the embedding.
        excluded: (n,) number of a person among the others to whom a query is not compared, since it is that person's.
    """
    every = np.arange(len(images))
    near = Matches(np.full(len(images), np.inf), every * 0, Poses.of_symmetry(every * 0))
    distance = np.full((len(images), int(people.others_person.max()) + 1), np.inf)  # to each of the others
    for number, posed in enumerate(symmetries(torch.from_numpy(images))):
        points = detector.embed(posed.contiguous().numpy())
        to_training, row = (one[:, 0] for one in nearest(points, people.training))
        better = to_training < near.distance
        near.distance[better], near.row[better], near.poses.symmetry[better] = to_training[better], row[better], number
        distance = np.minimum(distance, nearest_of_each(points, people.others, people.others_person))
    if excluded is not None:
        distance[every, excluded] = np.inf
    far, rest = np.partition(distance, 1, axis=1)[:, :2].T
    members = Suspicion(ratio_of(near.distance, far), far[:, None], people.training_person[near.row])
    return CopySearch(members, Suspicion(ratio_of(far, rest), rest[:, None], distance.argmin(axis=1)), every, near)


def _training_patches(size: int, seed: int) -> ImagePatches:
    side = max(192, math.ceil(MARGIN * size))
    scanner = ScannerSettings(patients=HEADS, shape=(side, side, SLAB), spacing_mm=(SPACING_MM, SPACING_MM, 1.25))
    numbers = progress(range(1, HEADS + 1), "heads for the copy detector", HEADS)
    return np.concatenate([drawn_patches(scanner, PatchSettings(size=size, **OF_EACH), seed, number, "detector")[0] for number in numbers])


def contrastive_loss(points: Tensor) -> Tensor:
    """NT-Xent of views (2n, d) on the unit sphere, of which i and n + i are of one patch."""
    count = len(points) // 2
    likeness = points @ points.T / TEMPERATURE
    likeness.fill_diagonal_(-torch.inf)
    return F.cross_entropy(likeness, torch.arange(2 * count, device=points.device).roll(count))


def altered(images: Tensor, random: torch.Generator) -> Tensor:
    """Alter images (n, 1, x, y) as a generator might that repeats them: pose, shape, sharpness, contrast, noise, each at random."""
    n = len(images)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    # Rotation and shift, and a smooth deformation by random moves of a few nodes.
    angle = (2 * uniform(n) - 1) * math.radians(DEGREES)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    shift = (2 * uniform(n, 2) - 1) * 2 * SHIFT  # a side is 2 long in the grid's coordinates
    pose = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    moves = torch.randn(n, 2, NODES, NODES, generator=random) * 2 * DEFORMATION * uniform(n, 1, 1, 1)
    smooth = F.interpolate(moves, images.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    grid = F.affine_grid(pose, list(images.shape), align_corners=False) + smooth
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # Sharpness, contrast, brightness, noise.
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
    views = torch.lerp(views, blurred, uniform(n, 1, 1, 1))
    views = views * torch.exp((2 * uniform(n, 1, 1, 1) - 1) * CONTRAST) + (2 * uniform(n, 1, 1, 1) - 1) * BRIGHTNESS
    return views + torch.randn(views.shape, generator=random) * NOISE * uniform(n, 1, 1, 1)


def _inputs(images: ImagePatches) -> Tensor:
    """(n, x, y) levels -> (n, 1, side, side) of zero mean, averaged down to about 32x32 where larger."""
    points = torch.from_numpy(as_points(images))
    side = math.isqrt(points.shape[1])
    return (points - points.mean(dim=1, keepdim=True)).view(-1, 1, side, side)
