"""Copies of label maps, and of image and label together: synthetic pairs that repeat a person's vessels.

A generator may change the grey levels of a patch and keep its vessels. In TOF-MRA experts recognised replicas best by their segmentation
(RELICT-NI, Neuroinformatics 2025, doi 10.1007/s12021-025-09745-2). Label maps are compared as images are (see `memorisation`), under all
symmetries, rotations and shifts. They are blurred first, since two binary maps of the same thin vessel, slightly shifted, do not overlap.

For image and label together there is no further search for poses. Each pair is compared in the poses from the searches by image and by
label, and the mean square differences of image and label are added. A pair thus counts if its image and label repeat the same patch in
the same pose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.privacy.alignment import Matches, warp_onto
from angiosynth.privacy.memorisation import CopySearch, PeoplesPatches, PixelSearch, References, Suspicion, ratio_of
from angiosynth.privacy.nearest import SIDE, Indices, as_points

BLUR = 1.0  # standard deviation in pixels, for patches of side 32


def label_images(label: LabelPatches) -> ImagePatches:
    """Convert label maps (n, x, y) to images of levels, blurred so that vessels that nearly coincide have a small distance."""
    deviation = BLUR * label.shape[1] / SIDE
    blurred = ndimage.gaussian_filter(label.astype(np.float32) * 255.0, (0, deviation, deviation), mode="nearest", truncate=3.0)
    levels: ImagePatches = np.rint(blurred).astype(np.uint8)
    return levels


def labels_of(references: References, training: ImagePatches, others: ImagePatches) -> References:
    """Build references of label maps (m, x, y), converted by `label_images`, for the same people."""
    return References(PeoplesPatches(training, references.training.person), PeoplesPatches(others, references.others.person))


@dataclass(frozen=True)
class PairReferences:
    """Real pairs: images, and label maps converted by `label_images`, of the same people in the same order."""

    images: References
    labels: References


def search_pairs(
    image: ImagePatches, label: ImagePatches, references: PairReferences, by_image: PixelSearch, by_label: PixelSearch
) -> CopySearch:
    """Suspect for each pair one training patient and one person who was not trained on, by image and label together.

    Args:
        image: (n, x, y) levels.
        label: (n, x, y), converted by `label_images`.
        references: the real pairs to compare with.
        by_image: the search for the images.
        by_label: the search for the labels.
    """
    checked = np.union1d(by_image.checked, by_label.checked)
    # Distances of the pairs to the real pairs that either search proposed, in the proposed poses.
    near: list[Matches] = []
    others: list[Matches] = []
    for search in (by_image, by_label):
        for proposals, name in ((near, "near"), (others, "far"), (others, "rest")):
            real = [group.training if name == "near" else group.others for group in (references.images, references.labels)]
            matches = _expanded(getattr(search, name), search.checked, checked)
            proposals.append(_together(image[checked], label[checked], real, matches))
    nearest = _nearest_of(near)
    person, far, rest = _people_of(others, references.images.others.person)
    # Pairs that neither search aligned have an infinite ratio and never count as copies.
    ratios = [np.full(len(image), np.inf), np.full(len(image), np.inf)]
    ratios[0][checked], ratios[1][checked] = ratio_of(nearest.distance, far), ratio_of(far, rest)
    people = by_image.training.person.copy(), by_image.others.person.copy()
    people[0][checked], people[1][checked] = references.images.training.person[nearest.row], person
    apart = [np.column_stack([getattr(search, group).apart for search in (by_image, by_label)]) for group in ("training", "others")]
    return CopySearch(Suspicion(ratios[0], apart[0], people[0]), Suspicion(ratios[1], apart[1], people[1]), checked, nearest)


def _expanded(matches: Matches, checked: Indices, queries: Indices) -> Matches:
    """Expand the matches of `checked` queries (k,) to `queries` (m,); the distance of queries without a match is infinite."""
    position = np.minimum(np.searchsorted(checked, queries), len(checked) - 1)
    expanded = matches.select(position)
    return replace(expanded, distance=np.where(checked[position] == queries, expanded.distance, np.inf))


def _together(image: ImagePatches, label: ImagePatches, real: list[PeoplesPatches], matches: Matches) -> Matches:
    """Replace the finite distances of matches (m,) by those of image and label together, in the matches' poses."""
    squares = np.zeros(len(image))
    for query, references in zip((image, label), real, strict=True):
        warped = warp_onto(_tensor(references.images[matches.row]), _tensor(query), matches.poses).numpy()
        squares += np.square(warped - _tensor(query).numpy()).mean(axis=(1, 2))
    return replace(matches, distance=np.where(np.isinf(matches.distance), np.inf, np.sqrt(squares)))


def _tensor(images: ImagePatches) -> torch.Tensor:
    """Convert levels (n, x, y) to [-1, 1]; larger images are averaged down to about 32x32."""
    points = as_points(images)
    return torch.from_numpy(points).view(len(points), -1, round(points.shape[1] ** 0.5))


def _nearest_of(proposals: list[Matches]) -> Matches:
    """The nearest of the proposed matches of each query."""
    best = np.argmin([matches.distance for matches in proposals], axis=0)
    nearest = proposals[0].select(np.arange(len(best)))
    for number, matches in enumerate(proposals):
        rows = np.flatnonzero(best == number)
        nearest.distance[rows], nearest.row[rows] = matches.distance[rows], matches.row[rows]
        for name in ("symmetry", "degrees", "shift"):
            getattr(nearest.poses, name)[rows] = getattr(matches.poses, name)[rows]
    return nearest


def _people_of(proposals: list[Matches], person: Indices) -> tuple[Indices, NDArray[np.float64], NDArray[np.float64]]:
    """The nearest person of each query (m,), the distance to that person, and the distance to the nearest other proposed person."""
    distance: NDArray[Any] = np.stack([matches.distance for matches in proposals], axis=1)
    people = np.stack([person[matches.row] for matches in proposals], axis=1)
    queries, best = np.arange(len(distance)), distance.argmin(axis=1)
    nearest = people[queries, best]
    rest = np.where(people == nearest[:, None], np.inf, distance).min(axis=1)
    return nearest, distance[queries, best], rest
