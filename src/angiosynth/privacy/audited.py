"""The inputs of an audit, and the forms in which attacks compare patches: points of pixels, and features of a U-net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.arrays import ImagePatches
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import GeneratorSettings, LatentSpace, PairCritic, Sampler
from angiosynth.privacy.linkage import PatientPoints
from angiosynth.privacy.membership import Patients, split_scores
from angiosynth.privacy.nearest import Points, as_points
from angiosynth.privacy.references import References

Encoder = LatentSpace | PairCritic
OTHERS = ("test", "unlabelled")  # parts on which nothing was trained and which chose nothing


@dataclass(frozen=True, kw_only=True)
class RealInputs:
    """The real patches of all parts of the split, and what they are looked at with."""

    training: PatchSet
    test: PatchSet  # of test patients, and of people who are held out for the audit and have a label
    validation: PatchSet  # for the controls, as these patients are unknown to the generator
    control: GeneratorSettings | None  # of a generator that learns by heart; None where none is asked for
    features: Callable[[ImagePatches], NDArray[np.float64]]  # of a U-net trained on real patches
    scratch: Path  # for files that must not outlive the audit
    unlabelled: PatchSet | None = None  # of people who are held out and have no label; their vessel masks serve no attack


@dataclass(frozen=True, kw_only=True)
class AuditInputs(RealInputs):
    """What is audited, beside the real patches."""

    synthetic: PatchSet
    latent_space: LatentSpace | None  # of the generator, where it has one that can be searched
    critic: PairCritic | None  # where its kind trains one
    step: int  # of the chosen generator
    probes: Sequence[Mapping[str, float]]  # scores by the probe of this step's generator and of others', which are `at_step`
    at_step: Callable[[int], Sampler]


@dataclass(frozen=True)
class Standardised:
    """A scale on which each feature counts alike: mean and deviation (features,)."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def by(cls, features: NDArray[np.float64]) -> Standardised:
        """The scale of some features (n, features)."""
        deviation = features.std(axis=0)
        # A feature that hardly ever varies would be noise if it were scaled to a deviation of one.
        return cls(features.mean(axis=0), np.maximum(deviation, max(0.01 * float(deviation.max()), 1e-6)))

    def of(self, features: NDArray[np.float64]) -> Points:
        """Features (n, features) on this scale."""
        points: Points = ((features - self.mean) / self.deviation).astype(np.float32)
        return points


class RealData:
    """The real patches of an audit as arrays, points and features, each computed once.

    Mappings have the keys training, test and validation, and unlabelled where there are such people; those of labels do not have the
    latter. Candidates are the patches whose membership is in question: those of training patients, then those of test patients, then
    unlabelled people's. `labelled` is the number of the candidates with a label, the first ones.

    Args:
        inputs: the patches.
        references: results that earlier audits of the same patches had.
        synthetic: a further set in all mappings.
    """

    def __init__(self, inputs: RealInputs, references: References | None = None, synthetic: Mapping[str, PatchSet] | None = None) -> None:
        self.real, self.references = inputs, references or References()
        training, test = inputs.training, inputs.test
        sets = {"training": training, "test": test, "validation": inputs.validation, **(synthetic or {})}
        self.labels = {name: np.ascontiguousarray(patches.label[patches.rows]) for name, patches in sets.items()}
        if inputs.unlabelled is not None:
            sets["unlabelled"] = inputs.unlabelled
        self.images = {name: np.ascontiguousarray(patches.image[patches.rows]) for name, patches in sets.items()}
        names = {name: patches.patient[patches.rows] for name, patches in sets.items()}
        self.members = tuple(np.unique(names["training"]).tolist())
        self.others = tuple(name for part in OTHERS if part in names for name in np.unique(names[part]).tolist())
        self.patient = candidates_of(names)  # of each candidate
        self.labelled = len(training) + len(test)
        # Of each patch its patient's number within the set.
        numbers = {name: np.unique(patients, return_inverse=True)[1] for name, patients in names.items()}
        self.number, self.test_number, self.validation_number = (numbers[name] for name in ("training", "test", "validation"))
        self.unlabelled_number = numbers.get("unlabelled", np.zeros(0, np.int64))

    @cached_property
    def pixels(self) -> dict[str, Points]:
        return {name: as_points(images) for name, images in self.images.items()}

    @cached_property
    def raw_features(self) -> dict[str, NDArray[np.float64]]:
        features = self.real.features
        real = self.references.get(
            "features", lambda: {name: features(images) for name, images in self.images.items() if name != "synthetic"}
        )
        return {name: real[name] if name in real else features(images) for name, images in self.images.items()}

    @cached_property
    def features(self) -> dict[str, Points]:
        scale = Standardised.by(self.raw_features["training"])
        return {name: scale.of(features) for name, features in self.raw_features.items()}

    @property
    def other_number(self) -> NDArray[np.int64]:
        """Of each patch of `others_of` the number of its person."""
        return np.concatenate([self.test_number, len(np.unique(self.test_number)) + self.unlabelled_number])

    @property
    def training_points(self) -> PatientPoints:
        """Pixels of training patients."""
        return PatientPoints(self.pixels["training"], self.number)

    @property
    def other_points(self) -> PatientPoints:
        """Pixels of people on whom nothing was trained and who chose nothing."""
        return PatientPoints(others_of(self.pixels), self.other_number)

    def split(self, scores: Mapping[str, float]) -> Patients:
        """Scores of patients, by the side that they are on."""
        # A patient without a vessel has no score in the attack that looks at labels, one without a label in no such attack.
        members, others = (tuple(name for name in side if name in scores) for side in (self.members, self.others))
        return split_scores(scores, members, others)

    def spread_rows(self, count: int) -> NDArray[np.int64]:
        """Rows of so many labelled candidates of each patient, evenly over all the patient has."""
        of_each = (np.flatnonzero(self.patient[: self.labelled] == name) for name in (*self.members, *self.others))
        return np.concatenate([rows[evenly(len(rows), count)] for rows in of_each])

    def candidate_pairs(self, encoder: Encoder, rows: NDArray[np.int64]) -> Tensor:
        """Pairs (k, 2, x, y) of labelled candidates, as the encoder makes them, in the order of the rows."""
        training = len(self.real.training)
        first = encoded_pairs(self.real.training, rows[rows < training], encoder)
        second = encoded_pairs(self.real.test, rows[rows >= training] - training, encoder)
        order = np.argsort(np.concatenate([np.flatnonzero(rows < training), np.flatnonzero(rows >= training)]))
        return torch.cat([first, second])[torch.from_numpy(order)]


class AuditData(RealData):
    """The patches of an audit; all mappings have the key synthetic, too."""

    def __init__(self, inputs: AuditInputs, references: References | None = None) -> None:
        super().__init__(inputs, references, {"synthetic": inputs.synthetic})
        self.inputs = inputs


def candidates_of(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Of training patients, then of test patients, then of unlabelled people where the mapping has them."""
    return np.concatenate([arrays["training"], others_of(arrays)])


def others_of(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Of test patients, then of unlabelled people where the mapping has them."""
    return np.concatenate([arrays[part] for part in OTHERS if part in arrays])


def encoded_pairs(patches: PatchSet, rows: NDArray[np.int64], encoder: Encoder) -> Tensor:
    """(k, 2, x, y): image and label as the networks see them."""
    image, label = (torch.from_numpy(array) for array in patches.pairs(rows))
    return encoder.encode(image, label)


def evenly(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` numbers below `length`, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
