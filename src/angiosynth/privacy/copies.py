"""The search for copies in every space, and the thresholds that real patches of people who were not trained on give it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches
from angiosynth.privacy.audited import AuditData, Standardised, evenly
from angiosynth.privacy.copy_counts import CopyThreshold, copy_statistics, threshold_from
from angiosynth.privacy.feature_copies import Described, DescribedPeople, search_in_features, with_smoothed
from angiosynth.privacy.memorisation import CopySearch, PeoplesPatches, References, search_copies
from angiosynth.privacy.nearest import Indices, Points
from angiosynth.settings.audit import AuditSettings

CHECKED_IN_FEATURES = 500  # queries that are searched for under all symmetries, at most
LEVEL = 96.0  # mean of a levelled patch, of 0..255: low, since vessels are far brighter than the mean
SPACES = ("copies", "copies_features")  # keys of audit.json: in pixels, and in features


class CopyAudit:
    """Searches for copies of training patients' patches, and of test and validation patients' as what chance gives."""

    def __init__(self, data: AuditData, settings: AuditSettings) -> None:
        self.data, self.settings = data, settings
        others = levelled(np.concatenate([data.images["test"], data.images["validation"]]))
        person = np.concatenate([data.test_number, data.test_number.max() + 1 + data.validation_number])
        training = PeoplesPatches(levelled(data.images["training"]), data.number)
        self.references = References(training, PeoplesPatches(others, person))

    def search(self, images: ImagePatches, checked: int, description: str, excluded: Indices | None = None) -> dict[str, CopySearch]:
        """Search for copies among images (n, x, y), `checked` of them exactly.

        Returns:
            For each of SPACES the search.
        """
        images = levelled(images)
        in_pixels = search_copies(images, self.references, checked, f"copies, {description} patches", excluded)
        few, queries = min(checked, CHECKED_IN_FEATURES), Described(images, self._describe(images))
        in_features = search_in_features(queries, self._people, few, self._describe, in_pixels, excluded)
        return dict(zip(SPACES, (in_pixels, in_features), strict=True))

    @cached_property
    def synthetic(self) -> dict[str, CopySearch]:
        """The search among the set."""
        return self.search(self.data.images["synthetic"], self.settings.checked, "synthetic")

    @cached_property
    def thresholds(self) -> dict[str, CopyThreshold]:
        """For each of SPACES what counts as a copy, by real patches of people who were not trained on."""
        others = self.references.others
        rows = evenly(len(others.images), self.settings.compared)
        reference = self.search(others.images[rows], self.settings.checked, "others'", others.person[rows])
        return {space: threshold_from(search, self.settings.limits) for space, search in reference.items()}

    def statistics(self) -> dict[str, dict[str, Any]]:
        """`copy_statistics` of each of SPACES."""
        people = self.references.training.people, self.references.others.people
        return {
            space: copy_statistics(search, self.thresholds[space], people, self.settings.bootstrap, self.settings.seed)
            for space, search in self.synthetic.items()
        }

    def detected(self, images: ImagePatches, description: str) -> dict[str, float]:
        """Share of images (n, x, y), all of them checked, that count as copies, for each of SPACES."""
        searches = self.search(images, len(images), description)
        return {space: float(self.thresholds[space].passed(search.training).mean()) for space, search in searches.items()}

    @cached_property
    def _scale(self) -> Standardised:
        return Standardised.by(self.data.inputs.features(self.references.training.images))

    def _describe(self, images: ImagePatches) -> Points:
        """Features of levelled images (n, x, y), on the scale of the training patients'."""
        return self._scale.of(self.data.inputs.features(images))

    @cached_property
    def _people(self) -> DescribedPeople:
        training, others = (
            with_smoothed(side.images, self._describe(side.images), self._describe)
            for side in (self.references.training, self.references.others)
        )
        return DescribedPeople(training, self.references.training.person, others, self.references.others.person)


def levelled(images: ImagePatches) -> ImagePatches:
    """Images (n, x, y) of levels, all shifted to one mean: how bright a patch is depends on the coil, and is no content to be copied."""
    shift: NDArray[np.float32] = LEVEL - images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
    levels: ImagePatches = np.clip(np.rint(images + shift[:, None, None]), 0, 255).astype(np.uint8)
    return levels
