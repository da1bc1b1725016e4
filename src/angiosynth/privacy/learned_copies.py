"""Learnt copy detector: an embedding that is nearly invariant to rotation, shift, deformation, blur, contrast and noise.

The other searches undo a fixed list of transformations. A generator may also deform a patch or change its contrast, which no list of
poses undoes. A small network maps patches to the unit sphere. It is trained by contrastive learning (NT-Xent; Chen et al. 2020): two
augmented views of one patch are pulled together and pushed away from all other patches. Copy detectors for photographs (SSCD; Pizzi et
al. 2022) and for medical images (LCMem, arXiv 2512.14421) are trained in the same way; DeepSSIM (arXiv 2509.16582) trains the embedding
of augmented brain MRI to reproduce the structural similarity of the originals.

The network is trained on heads drawn by the phantom and never on a person's data. Training it on the people who are not in the
generator's training set would spread their patches apart in the embedding, but not those of training patients, which would then seem
nearer to any set, even a harmless one.

Invariance to symmetries is not learnt: every query is embedded under all eight. No pose is searched for, so the real patches that give
the thresholds are treated as synthetic ones are, and whether a patch is distinctive is decided in the embedding alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.arrays import ImagePatches, chunks
from angiosynth.compute.precision import device
from angiosynth.privacy.alignment import SYMMETRIES, Matches, Poses, transformed
from angiosynth.privacy.drawn_patches import drawn_patches
from angiosynth.privacy.memorisation import CopySearch, Suspicion, ratio_of
from angiosynth.privacy.nearest import Indices, Points, as_points, nearest, nearest_of_each
from angiosynth.runtime.progress import progress
from angiosynth.settings import PatchSettings, ScannerSettings

RATIO = 0.5  # upper bound on a copy's ratio of distances in this embedding; `limits.copy_ratio` is for distances in pixels
HEADS, OF_EACH = 8, {"on_vessels": 128, "on_bright": 96, "in_brain": 96}
SLAB, SPACING_MM = 32, 0.8  # number of slices of a drawn head; spacing within a slice
MARGIN = 1.4  # smallest ratio of the side of a drawn slice to that of a patch
BATCH, RATE, TEMPERATURE = 96, 0.002, 0.07
WIDTH, COORDINATES, CELLS = 24, 64, 4  # channels of the first layer; dimension of the embedding; cells along a side before the last layer
# Augmentations, greatest amounts: degrees; fractions of the side of a patch, twice; log of contrast; grey levels in [-1, 1], twice.
DEGREES, SHIFT, DEFORMATION, CONTRAST, BRIGHTNESS, NOISE = 15.0, 0.1, 0.06, 0.35, 0.1, 0.08
NODES = 4  # nodes of a deformation along a side
EMBEDDED = 2048  # images embedded at once


class Embedding(nn.Module):
    """Network from images (n, 1, x, y) of zero mean to points (n, COORDINATES) on the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, more in ((1, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
            layers += [nn.Conv2d(channels, more, 3, stride=2, padding=1), nn.GroupNorm(4, more), nn.SiLU()]
        # Pooling to cells instead of one mean keeps positions, which distinguish patches.
        layers += [nn.AdaptiveAvgPool2d(CELLS), nn.Flatten(), nn.Linear(4 * WIDTH * CELLS**2, COORDINATES)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images), dim=1)


class CopyDetector:
    """A trained embedding.

    Args:
        weights: the result of `train_detector`.
    """

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self._network = Embedding()
        self._network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
        self._network.to(device()).eval()

    @torch.no_grad()
    def embed(self, images: ImagePatches) -> Points:
        """Embed images (n, x, y) of levels: (n, COORDINATES)."""
        batches = _inputs(images).split(EMBEDDED)
        return torch.cat([self._network(batch.to(device())).cpu() for batch in batches]).numpy()

    def embed_under(self, symmetry: int, images: ImagePatches) -> Points:
        """Embed images (n, x, y) of levels under one of the eight symmetries: (n, COORDINATES)."""
        return np.concatenate([self.embed(transformed(torch.tensor(chunk), symmetry).numpy()) for chunk in chunks(images)])


def train_detector(size: int, steps: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Train an embedding on patches of drawn heads.

    Args:
        size: side of the patches in pixels.
        steps: number of steps, of BATCH patches each.
        seed: seed of heads, weights, batches and augmentations.

    Returns:
        Weights of `Embedding` by name.
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
    """Embedded patches (m, COORDINATES) of training patients and of others, and the number of each patch's person within its group."""

    training: Points
    training_person: Indices
    others: Points
    others_person: Indices


def search_embedded(images: ImagePatches, people: EmbeddedPeople, detector: CopyDetector, excluded: Indices | None = None) -> CopySearch:
    """Suspect for each query one training patient and one person who was not trained on, in the embedding, under all symmetries.

    Args:
        images: (n, x, y) of levels, the queries.
        people: the real patches to compare with.
        detector: the embedding.
        excluded: (n,) number of a person among the others whom a query is not compared with, since it is that person's patch.
    """
    queries = np.arange(len(images))
    near = Matches(np.full(len(images), np.inf), queries * 0, Poses.of_symmetry(queries * 0))
    distance = np.full((len(images), int(people.others_person.max()) + 1), np.inf)  # to each of the others
    for number in SYMMETRIES:
        points = detector.embed_under(number, images)
        to_training, row = (column[:, 0] for column in nearest(points, people.training))
        better = to_training < near.distance
        near.distance[better], near.row[better], near.poses.symmetry[better] = to_training[better], row[better], number
        distance = np.minimum(distance, nearest_of_each(points, people.others, people.others_person))
    if excluded is not None:
        distance[queries, excluded] = np.inf
    far, rest = np.partition(distance, 1, axis=1)[:, :2].T
    members = Suspicion(ratio_of(near.distance, far), far[:, None], people.training_person[near.row])
    return CopySearch(members, Suspicion(ratio_of(far, rest), rest[:, None], distance.argmin(axis=1)), queries, near)


def _training_patches(size: int, seed: int) -> ImagePatches:
    side = max(192, math.ceil(MARGIN * size))
    scanner = ScannerSettings(patients=HEADS, shape=(side, side, SLAB), spacing_mm=(SPACING_MM, SPACING_MM, 1.25))
    numbers = progress(range(1, HEADS + 1), "heads for the copy detector", HEADS)
    return np.concatenate([drawn_patches(scanner, PatchSettings(size=size, **OF_EACH), seed, number, "detector")[0] for number in numbers])


def contrastive_loss(points: Tensor) -> Tensor:
    """NT-Xent loss (Chen et al. 2020, eq. 1) of views (2n, d) on the unit sphere; views i and n + i show the same patch."""
    count = len(points) // 2
    similarity = points @ points.T / TEMPERATURE
    similarity.fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(2 * count, device=points.device).roll(count))


def altered(images: Tensor, random: torch.Generator) -> Tensor:
    """Augment images (n, 1, x, y) by random pose, deformation, blur, contrast, brightness and noise, as a copying generator might."""
    n = len(images)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    # Rotation and shift, and a smooth deformation by random displacements of a few nodes.
    angle = (2 * uniform(n) - 1) * math.radians(DEGREES)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    shift = (2 * uniform(n, 2) - 1) * 2 * SHIFT  # in the grid's coordinates a side has length 2
    pose = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    displacement = torch.randn(n, 2, NODES, NODES, generator=random) * 2 * DEFORMATION * uniform(n, 1, 1, 1)
    deformation = F.interpolate(displacement, images.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    grid = F.affine_grid(pose, list(images.shape), align_corners=False) + deformation
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # Sharpness, contrast, brightness, noise.
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
    views = torch.lerp(views, blurred, uniform(n, 1, 1, 1))
    views = views * torch.exp((2 * uniform(n, 1, 1, 1) - 1) * CONTRAST) + (2 * uniform(n, 1, 1, 1) - 1) * BRIGHTNESS
    return views + torch.randn(views.shape, generator=random) * NOISE * uniform(n, 1, 1, 1)


def _inputs(images: ImagePatches) -> Tensor:
    """Convert levels (n, x, y) to network inputs (n, 1, side, side) of zero mean; larger images are averaged down to about 32x32."""
    points = torch.from_numpy(as_points(images))
    side = math.isqrt(points.shape[1])
    return (points - points.mean(dim=1, keepdim=True)).view(-1, 1, side, side)
