"""Copies of label maps, and of image and label together: a synthetic pair that repeats a person's vessels.

A generator may give a patch other grey levels and keep its vessels. On TOF-MRA experts recognised replicas best by their segmentation
(RELICT-NI, Neuroinformatics 2025, doi 10.1007/s12021-025-09745-2). Label maps are compared as images are (see `memorisation`), under all
symmetries, rotations and shifts, after a blur: two binary maps that differ by a shift of a thin vessel would have nothing in common.

For both together no pose is searched for anew. Each pair is compared in the poses that the searches by image and by label proposed, with
the distances of both added; so a pair counts whose image and label repeat the same patch in the same pose.
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

BLUR = 1.0  # deviation in pixels of a patch of side 32


def label_images(label: LabelPatches) -> ImagePatches:
    """Label maps (n, x, y) as images of levels, blurred so that vessels that nearly coincide are near to each other."""
    deviation = BLUR * label.shape[1] / SIDE
    blurred = ndimage.gaussian_filter(label.astype(np.float32) * 255.0, (0, deviation, deviation), mode="nearest", truncate=3.0)
    levels: ImagePatches = np.rint(blurred).astype(np.uint8)
    return levels


def labels_of(references: References, training: LabelPatches, others: LabelPatches) -> References:
    """The same people's label maps as references of a search."""
    return References(
        PeoplesPatches(label_images(training), references.training.person), PeoplesPatches(label_images(others), references.others.person)
    )


@dataclass(frozen=True)
class PairReferences:
    """Real pairs: images, and label maps as `label_images`, of the same people in the same order."""

    images: References
    labels: References


def search_pairs(
    image: ImagePatches, label: ImagePatches, references: PairReferences, by_image: PixelSearch, by_label: PixelSearch
) -> CopySearch:
    """Suspect for each pair one training patient and one person who was not trained on, by image and label together.

    Args:
        image: (n, x, y).
        label: (n, x, y), as `label_images`.
        references: whom the pairs may repeat.
        by_image: the search for the images.
        by_label: the search for the labels.
    """
    checked = np.union1d(by_image.checked, by_label.checked)
    near: list[Matches] = []
    others: list[Matches] = []
    for search in (by_image, by_label):
        for kept, name in ((near, "near"), (others, "far"), (others, "rest")):
            side = [one.training if name == "near" else one.others for one in (references.images, references.labels)]
            matches = _spread(getattr(search, name), search.checked, checked)
            kept.append(_together(image[checked], label[checked], side, matches))
    nearest = _least(near)
    person, far, rest = _people_of(others, references.images.others.person)
    # A pair that neither search looked at closely is suspected of nothing.
    ratios = [np.full(len(image), np.inf), np.full(len(image), np.inf)]
    ratios[0][checked], ratios[1][checked] = ratio_of(nearest.distance, far), ratio_of(far, rest)
    people = by_image.training.person.copy(), by_image.others.person.copy()
    people[0][checked], people[1][checked] = references.images.training.person[nearest.row], person
    apart = [np.column_stack([getattr(one, side).apart for one in (by_image, by_label)]) for side in ("training", "others")]
    return CopySearch(Suspicion(ratios[0], apart[0], people[0]), Suspicion(ratios[1], apart[1], people[1]), checked, nearest)


def _spread(matches: Matches, checked: Indices, wanted: Indices) -> Matches:
    """The matches (k,) of `checked` queries for all `wanted` ones (m,), those without a match infinitely far."""
    place = np.minimum(np.searchsorted(checked, wanted), len(checked) - 1)
    spread = matches.select(place)
    return replace(spread, distance=np.where(checked[place] == wanted, spread.distance, np.inf))


def _together(image: ImagePatches, label: ImagePatches, side: list[PeoplesPatches], matches: Matches) -> Matches:
    """The matches (m,) with the distances of image and label in the matches' poses, where they are not infinitely far."""
    squares = np.zeros(len(image))
    for query, real in zip((image, label), side, strict=True):
        warped = warp_onto(_tensor(real.images[matches.row]), _tensor(query), matches.poses).numpy()
        squares += np.square(warped - _tensor(query).numpy()).mean(axis=(1, 2))
    return replace(matches, distance=np.where(np.isinf(matches.distance), np.inf, np.sqrt(squares)))


def _tensor(images: ImagePatches) -> torch.Tensor:
    """(n, x, y) levels -> [-1, 1], averaged down to about 32x32 where larger."""
    points = as_points(images)
    return torch.from_numpy(points).view(len(points), -1, round(points.shape[1] ** 0.5))


def _least(proposals: list[Matches]) -> Matches:
    """For each query the nearest of the proposed matches."""
    best = np.argmin([one.distance for one in proposals], axis=0)
    chosen = proposals[0].select(np.arange(len(best)))
    for number, one in enumerate(proposals):
        rows = np.flatnonzero(best == number)
        chosen.distance[rows], chosen.row[rows] = one.distance[rows], one.row[rows]
        for name in ("symmetry", "degrees", "shift"):
            getattr(chosen.poses, name)[rows] = getattr(one.poses, name)[rows]
    return chosen


def _people_of(proposals: list[Matches], person: Indices) -> tuple[Indices, NDArray[np.float64], NDArray[np.float64]]:
    """The nearest person of each query (m,), the distance to that person, and to the nearest of all others proposed."""
    distance: NDArray[Any] = np.stack([one.distance for one in proposals], axis=1)
    people = np.stack([person[one.row] for one in proposals], axis=1)
    queries, best = np.arange(len(distance)), distance.argmin(axis=1)
    nearest = people[queries, best]
    rest = np.where(people == nearest[:, None], np.inf, distance).min(axis=1)
    return nearest, distance[queries, best], rest
