"""The search for copies in every space, and the thresholds that real patches of people who were not trained on give it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.privacy.audited import RealData, Standardised, evenly
from angiosynth.privacy.copy_counts import CopyThreshold, copy_statistics, threshold_from
from angiosynth.privacy.feature_copies import Described, DescribedPeople, search_in_features, with_smoothed
from angiosynth.privacy.label_copies import PairReferences, label_images, labels_of, search_pairs
from angiosynth.privacy.learned_copies import RATIO, CopyDetector, EmbeddedPeople, search_embedded, train_detector
from angiosynth.privacy.memorisation import CopySearch, PeoplesPatches, PixelSearch, References, search_copies
from angiosynth.privacy.nearest import Indices, Points
from angiosynth.settings.audit import AuditSettings

CHECKED_IN_FEATURES = 500  # queries that are searched for under all symmetries, at most
LEVEL = 96.0  # mean of a levelled patch, of 0..255: low, since vessels are far brighter than the mean
LABELS = "copies_labels"
OF_LABELS = (LABELS, "copies_pairs")
SPACES = ("copies", "copies_features", *OF_LABELS)  # keys of audit.json
LEARNED = "copies_learned"  # a further one, where a detector is trained


@dataclass(frozen=True)
class Pairs:
    """Images (n, x, y) of levels and their label maps (n, x, y)."""

    image: ImagePatches
    label: LabelPatches

    def select(self, rows: Indices) -> Pairs:
        return Pairs(self.image[rows], self.label[rows])


class CopyAudit:
    """Searches for copies of training patients' patches, and of people's who were not trained on as what chance gives.

    These are test and validation patients and, in the searches that need no label, people who are held out without one.
    """

    def __init__(self, data: RealData, settings: AuditSettings) -> None:
        self.data, self.settings = data, settings
        self.training = self._pairs("training")
        image, label = (np.concatenate([of["test"], of["validation"]]) for of in (data.images, data.labels))
        self.others = Pairs(image, label)  # the labelled ones
        person = np.concatenate([data.test_number, data.test_number.max() + 1 + data.validation_number])
        images = References(PeoplesPatches(levelled(self.training.image), data.number), PeoplesPatches(levelled(image), person))
        self.references = PairReferences(images, labels_of(images, self.training.label, label))
        self.people = self._with_unlabelled(images)

    @property
    def set(self) -> Pairs:
        """The synthetic ones."""
        return self._pairs("synthetic")

    def _pairs(self, name: str) -> Pairs:
        return Pairs(self.data.images[name], self.data.labels[name])

    def _with_unlabelled(self, labelled: References) -> References:
        """The labelled people and behind them those without a label; the very same object where there are none of these."""
        if "unlabelled" not in self.data.images:
            return labelled
        image = np.concatenate([labelled.others.images, levelled(self.data.images["unlabelled"])])
        person = np.concatenate([labelled.others.person, labelled.others.people + self.data.unlabelled_number])
        return replace(labelled, others=PeoplesPatches(image, person))

    def search(self, pairs: Pairs, checked: int, description: str) -> dict[str, CopySearch]:
        """Search for copies among pairs, `checked` of them exactly.

        Returns:
            For each of SPACES the search: in pixels, in features, in label maps, and in image and label together; LEARNED, in a learnt
            embedding, where the settings have a detector.
        """
        images = levelled(pairs.image)
        by_image = self._search_images(images, checked, description)
        return {**by_image, **self._search_labels(images, pairs.label, checked, description, by_image["copies"])}

    def _search_images(
        self, images: ImagePatches, checked: int, description: str, excluded: Indices | None = None
    ) -> dict[str, CopySearch]:
        """In pixels and in features, for which nobody needs a label; the images are `levelled`."""
        in_pixels = search_copies(images, self.people, checked, f"copies, {description} patches", excluded)
        few, queries = min(checked, CHECKED_IN_FEATURES), Described(images, self._describe(images))
        searches = {
            "copies": in_pixels,
            "copies_features": search_in_features(queries, self._people, few, self._describe, in_pixels, excluded),
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
        """In label maps, and in image and label together, among labelled people; `in_pixels` serves where nobody is without a label."""
        if not isinstance(in_pixels, PixelSearch) or self.people is not self.references.images:
            in_pixels = search_copies(images, self.references.images, checked, f"copies, {description} labelled patches", excluded)
        labels = label_images(label)
        in_labels = search_copies(labels, self.references.labels, checked, f"copies, {description} labels", excluded)
        return {LABELS: in_labels, "copies_pairs": search_pairs(images, labels, self.references, in_pixels, in_labels)}

    @cached_property
    def synthetic(self) -> dict[str, CopySearch]:
        """The search among the set."""
        return self.search(self.set, self.settings.checked, "synthetic")

    @cached_property
    def thresholds(self) -> dict[str, CopyThreshold]:
        """For each of SPACES what counts as a copy, by real patches of people who were not trained on."""

        def computed() -> dict[str, Any]:
            return {space: asdict(threshold) for space, threshold in self._thresholds().items()}

        return {space: CopyThreshold(**fields) for space, fields in self.data.references.get("thresholds", computed).items()}

    def _thresholds(self) -> dict[str, CopyThreshold]:
        limits, checked, everybody = self.settings.limits, self.settings.checked, self.people.others
        rows = evenly(len(everybody.images), self.settings.compared)
        reference: dict[str, CopySearch] = self._search_images(everybody.images[rows], checked, "others'", everybody.person[rows])
        in_pixels, labelled = reference["copies"], self.references.images.others
        rows = evenly(len(labelled.images), self.settings.compared)  # the same rows where nobody is without a label
        images, label, person = labelled.images[rows], self.others.label[rows], labelled.person[rows]
        reference |= self._search_labels(images, label, checked, "others'", in_pixels, person)
        thresholds = {}
        for space, search in reference.items():
            distinctive = limits.distinctive_labels if space == LABELS else limits.distinctive
            of_space = limits.model_copy(update={"copy_ratio": RATIO}) if space == LEARNED else limits
            thresholds[space] = threshold_from(search, of_space, distinctive)
        return thresholds

    def statistics(self) -> dict[str, dict[str, Any]]:
        """`copy_statistics` of each of SPACES."""
        settings = self.settings
        return {
            space: copy_statistics(search, self.thresholds[space], self.people_of(space), settings.bootstrap, settings.seed)
            for space, search in self.synthetic.items()
        }

    def people_of(self, space: str) -> tuple[int, int]:
        """Numbers of people who were trained on and who were not, among whom a search of this space looks."""
        sides = self.references.images if space in OF_LABELS else self.people
        return sides.training.people, sides.others.people

    def detected(self, pairs: Pairs, description: str) -> dict[str, float]:
        """Share of pairs, all of them checked, that count as copies, for each of SPACES."""
        searches = self.search(pairs, len(pairs.image), description)
        return {space: float(self.thresholds[space].passed(search.training).mean()) for space, search in searches.items()}

    @cached_property
    def _levelled_features(self) -> dict[str, NDArray[Any]]:
        """Features of both sides' levelled images, (m, features) each, `with_smoothed`, and their scale by the training patients'."""
        return self.data.references.get("levelled_features", self._describe_people)

    def _describe_people(self) -> dict[str, NDArray[Any]]:
        features, (training, others) = self.data.real.features, (self.people.training.images, self.people.others.images)
        of_training = features(training)
        scale = Standardised.by(of_training)
        described = {"training": with_smoothed(training, scale.of(of_training), lambda images: scale.of(features(images)))}
        described["others"] = with_smoothed(others, scale.of(features(others)), lambda images: scale.of(features(images)))
        return {**{name: one.features for name, one in described.items()}, "mean": scale.mean, "deviation": scale.deviation}

    def _describe(self, images: ImagePatches) -> Points:
        """Features of levelled images (n, x, y), on the scale of the training patients'."""
        scale = Standardised(self._levelled_features["mean"], self._levelled_features["deviation"])
        return scale.of(self.data.real.features(images))

    @cached_property
    def _people(self) -> DescribedPeople:
        sides, known = (self.people.training, self.people.others), self._levelled_features
        described = [Described(side.images, known[name]) for side, name in zip(sides, ("training", "others"), strict=True)]
        return DescribedPeople(described[0], sides[0].person, described[1], sides[1].person)

    @cached_property
    def _detector(self) -> CopyDetector | None:
        steps, seed, size = self.settings.detector_steps, self.settings.seed, self.training.image.shape[1]
        if not steps:
            return None
        return CopyDetector(self.data.references.get("copy detector", lambda: train_detector(size, steps, seed)))

    @cached_property
    def _embedded_people(self) -> EmbeddedPeople:
        assert self._detector is not None
        embed, sides = self._detector.embed, {"training": self.people.training, "others": self.people.others}
        points = self.data.references.get("embedded", lambda: {name: embed(side.images) for name, side in sides.items()})
        return EmbeddedPeople(points["training"], sides["training"].person, points["others"], sides["others"].person)


def levelled(images: ImagePatches) -> ImagePatches:
    """Images (n, x, y) of levels, all shifted to one mean: how bright a patch is depends on the coil, and is no content to be copied."""
    shift: NDArray[np.float32] = LEVEL - images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
    levels: ImagePatches = np.clip(np.rint(images + shift[:, None, None]), 0, 255).astype(np.uint8)
    return levels
