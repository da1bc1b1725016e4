"""Search for copies in every space, with thresholds computed from real patches of people who were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, LabelPatches, chunks
from angiosynth.privacy.audited import RealData, Standardised, evenly
from angiosynth.privacy.copy_counts import CopyThreshold, copy_statistics, threshold_from
from angiosynth.privacy.feature_copies import Described, DescribedPeople, search_in_features, with_smoothed
from angiosynth.privacy.label_copies import PairReferences, label_images, labels_of, search_pairs
from angiosynth.privacy.learned_copies import RATIO, CopyDetector, EmbeddedPeople, search_embedded, train_detector
from angiosynth.privacy.memorisation import CopySearch, PeoplesPatches, PixelSearch, References, search_copies
from angiosynth.privacy.nearest import Indices, Points
from angiosynth.runtime.mapped import stored
from angiosynth.settings.audit import AuditSettings

CHECKED_IN_FEATURES = 500  # most queries that are searched for under all symmetries
LEVEL = 96.0  # mean grey level of a levelled patch, in 0..255; low, since vessels are far brighter than the mean
LABELS = "copies_labels"
OF_LABELS = (LABELS, "copies_pairs")
SPACES = ("copies", "copies_features", *OF_LABELS)  # keys of audit.json
LEARNED = "copies_learned"  # additional space if a detector is trained


@dataclass(frozen=True)
class Pairs:
    """Images (n, x, y) of levels and their label maps (n, x, y)."""

    image: ImagePatches
    label: LabelPatches

    def select(self, rows: Indices) -> Pairs:
        return Pairs(self.image[rows], self.label[rows])


class CopyAudit:
    """Search for copies of training patients' patches and, as a control, for copies of people who were not trained on.

    The latter are test and validation patients and, in searches that need no label, unlabelled people who are held out.
    """

    def __init__(self, data: RealData, settings: AuditSettings) -> None:
        self.data, self.settings = data, settings
        self.training = self._pairs("training")
        image, label = ([arrays["test"], arrays["validation"]] for arrays in (data.images, data.labels))
        person = np.concatenate([data.test_number, data.test_number.max() + 1 + data.validation_number])  # labelled people only
        images = References(
            PeoplesPatches(self._stored(levelled, self.training.image), data.number), PeoplesPatches(self._stored(levelled, *image), person)
        )
        labels = labels_of(images, self._stored(label_images, self.training.label), self._stored(label_images, *label))
        self._other_label = self._stored(np.asarray, *label)
        self.references = PairReferences(images, labels)
        self.people = self._with_unlabelled(images)

    @property
    def set(self) -> Pairs:
        """The synthetic pairs."""
        return self._pairs("synthetic")

    def _pairs(self, name: str) -> Pairs:
        return Pairs(self.data.images[name], self.data.labels[name])

    def _stored(self, convert: Callable[[NDArray[np.uint8]], ImagePatches], *sets: NDArray[np.uint8]) -> ImagePatches:
        """Convert sets (m, x, y) by `levelled` or `label_images` and join them; a large result is mapped."""
        converted = (convert(chunk) for patches in sets for chunk in chunks(patches))
        return stored(converted, (sum(map(len, sets)), *sets[0].shape[1:]), self.data.real.scratch)

    def _with_unlabelled(self, labelled: References) -> References:
        """Append the unlabelled people to the labelled ones; returns the same object if there are none."""
        if "unlabelled" not in self.data.images:
            return labelled
        levels = [labelled.others.images, self._stored(levelled, self.data.images["unlabelled"])]
        image = self._stored(np.asarray, *levels)
        person = np.concatenate([labelled.others.person, labelled.others.people + self.data.unlabelled_number])
        return replace(labelled, others=PeoplesPatches(image, person))

    def search(self, pairs: Pairs, checked: int, description: str) -> dict[str, CopySearch]:
        """Search for copies among synthetic pairs.

        Args:
            pairs: the queries.
            checked: number of queries that are aligned exactly.
            description: kind of the queries, for the progress bar.

        Returns:
            The search in each of SPACES (pixels, features, label maps, image and label together) and, if the settings have a detector,
            in LEARNED, its embedding.
        """
        images = self._stored(levelled, pairs.image)
        by_image = self._search_images(images, checked, description)
        return {**by_image, **self._search_labels(images, pairs.label, checked, description, by_image["copies"])}

    def _search_images(
        self, images: ImagePatches, checked: int, description: str, excluded: Indices | None = None
    ) -> dict[str, CopySearch]:
        """Search for `levelled` images in the spaces that need no label: pixels, features and the learnt embedding."""
        in_pixels = search_copies(images, self.people, checked, f"copies, {description} patches", excluded)
        checked_in_features, queries = min(checked, CHECKED_IN_FEATURES), Described(images, self._describe(images))
        searches = {
            "copies": in_pixels,
            "copies_features": search_in_features(queries, self._people, checked_in_features, self._describe, in_pixels, excluded),
        }
        if self._detector is not None:
            searches[LEARNED] = search_embedded(images, self._embedded_people, self._detector, excluded)
        return searches

    def _search_labels(
        self,
        images: ImagePatches,
        label: LabelPatches,
        checked: int,
        description: str,
        in_pixels: CopySearch | None = None,
        excluded: Indices | None = None,
    ) -> dict[str, CopySearch]:
        """Search in label maps, and in image and label together, among labelled people; `in_pixels` is reused if everybody has a label."""
        if not isinstance(in_pixels, PixelSearch) or self.people is not self.references.images:
            in_pixels = search_copies(images, self.references.images, checked, f"copies, {description} labelled patches", excluded)
        labels = self._stored(label_images, label)
        in_labels = search_copies(labels, self.references.labels, checked, f"copies, {description} labels", excluded)
        return {LABELS: in_labels, "copies_pairs": search_pairs(images, labels, self.references, in_pixels, in_labels)}

    @cached_property
    def synthetic(self) -> dict[str, CopySearch]:
        """The searches for copies in the synthetic set."""
        return self.search(self.set, self.settings.checked, "synthetic")

    @cached_property
    def thresholds(self) -> dict[str, CopyThreshold]:
        """The threshold of each of SPACES, computed from real patches of people who were not trained on."""

        def computed() -> dict[str, Any]:
            return {space: asdict(threshold) for space, threshold in self._thresholds().items()}

        return {space: CopyThreshold(**fields) for space, fields in self.data.references.get("thresholds", computed).items()}

    def _thresholds(self) -> dict[str, CopyThreshold]:
        limits, checked, others = self.settings.limits, self.settings.checked, self.people.others
        # Searches that need no label, over all people who were not trained on.
        rows = evenly(len(others.images), self.settings.compared)
        reference: dict[str, CopySearch] = self._search_images(others.images[rows], checked, "others'", others.person[rows])
        # Searches in label maps, over labelled people; if everybody has a label, these are the same rows.
        in_pixels, labelled = reference["copies"], self.references.images.others
        rows = evenly(len(labelled.images), self.settings.compared)
        images, label, person = labelled.images[rows], self._other_label[rows], labelled.person[rows]
        reference |= self._search_labels(images, label, checked, "others'", in_pixels, person)
        thresholds = {}
        for space, search in reference.items():
            distinctive = limits.distinctive_labels if space == LABELS else limits.distinctive
            of_space = limits.model_copy(update={"copy_ratio": RATIO}) if space == LEARNED else limits
            thresholds[space] = threshold_from(search, of_space, distinctive)
        return thresholds

    def statistics(self) -> dict[str, dict[str, Any]]:
        """`copy_statistics` of each of SPACES."""
        return self._statistics(self.synthetic)

    def statistics_of_labels(self, label: LabelPatches) -> dict[str, dict[str, Any]]:
        """`copy_statistics` of the set's images with other label maps (n, x, y), in each of OF_LABELS."""
        images = self._stored(levelled, self.set.image)
        return self._statistics(self._search_labels(images, label, self.settings.checked, "drawn", self.synthetic["copies"]))

    def _statistics(self, searches: Mapping[str, CopySearch]) -> dict[str, dict[str, Any]]:
        settings = self.settings
        return {
            space: copy_statistics(search, self.thresholds[space], self.people_of(space), settings.bootstrap, settings.seed)
            for space, search in searches.items()
        }

    def people_of(self, space: str) -> tuple[int, int]:
        """Numbers of people who were trained on and who were not, as far as a search in this space compares with them."""
        references = self.references.images if space in OF_LABELS else self.people
        return references.training.people, references.others.people

    def detected(self, pairs: Pairs, description: str) -> dict[str, float]:
        """Share of pairs that count as copies in each of SPACES; all pairs are checked."""
        searches = self.search(pairs, len(pairs.image), description)
        return {space: float(self.thresholds[space].passed(search.training).mean()) for space, search in searches.items()}

    @cached_property
    def _levelled_features(self) -> dict[str, NDArray[Any]]:
        """Features of all levelled real patches `with_smoothed`, standardised by the training patients', and that scale.

        Keys: training and others, (2m, features) each; mean and deviation, (features,) each.
        """
        return self.data.references.get("levelled_features", self._describe_people)

    def _describe_people(self) -> dict[str, NDArray[Any]]:
        features, (training, others) = self.data.real.features, (self.people.training.images, self.people.others.images)
        training_features = features(training)
        scale = Standardised.by(training_features)
        described = {"training": with_smoothed(training, scale.of(training_features), lambda images: scale.of(features(images)))}
        described["others"] = with_smoothed(others, scale.of(features(others)), lambda images: scale.of(features(images)))
        return {**{name: group.features for name, group in described.items()}, "mean": scale.mean, "deviation": scale.deviation}

    def _describe(self, images: ImagePatches) -> Points:
        """Features (n, features) of levelled images (n, x, y), standardised by the training patients'."""
        scale = Standardised(self._levelled_features["mean"], self._levelled_features["deviation"])
        return scale.of(self.data.real.features(images))

    @cached_property
    def _people(self) -> DescribedPeople:
        training, others, features = self.people.training, self.people.others, self._levelled_features
        described = Described(training.images, features["training"]), Described(others.images, features["others"])
        return DescribedPeople(described[0], training.person, described[1], others.person)

    @cached_property
    def _detector(self) -> CopyDetector | None:
        steps, seed, size = self.settings.detector_steps, self.settings.seed, self.training.image.shape[1]
        if not steps:
            return None
        return CopyDetector(self.data.references.get("copy detector", lambda: train_detector(size, steps, seed)))

    @cached_property
    def _embedded_people(self) -> EmbeddedPeople:
        assert self._detector is not None
        embed, training, others = self._detector.embed, self.people.training, self.people.others
        points = self.data.references.get("embedded", lambda: {"training": embed(training.images), "others": embed(others.images)})
        return EmbeddedPeople(points["training"], training.person, points["others"], others.person)


def levelled(images: ImagePatches) -> ImagePatches:
    """Shift images (n, x, y) of levels to the same mean: a patch's brightness depends on the coil and is not part of its content."""
    shift: NDArray[np.float32] = LEVEL - images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
    levels: ImagePatches = np.clip(np.rint(images + shift[:, None, None]), 0, 255).astype(np.uint8)
    return levels
