"""The inputs of an audit, and the forms in which attacks compare patches: points of pixels, and features of a U-net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.arrays import ImagePatches, LabelPatches, chunks
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import GeneratorSettings, LatentSpace, PairCritic, Sampler
from angiosynth.privacy.linkage import PatientPoints
from angiosynth.privacy.membership import Patients, split_scores
from angiosynth.privacy.nearest import Points, as_points
from angiosynth.privacy.references import References
from angiosynth.runtime.mapped import stored

Encoder = LatentSpace | PairCritic
OTHERS = ("test", "unlabelled")  # parts of the split that were used neither for training nor for choosing a checkpoint


@dataclass(frozen=True, kw_only=True)
class RealInputs:
    """The real patches of all parts of the split, and the models and settings that the attacks use."""

    training: PatchSet
    test: PatchSet  # test patients, and labelled people held out for the audit
    validation: PatchSet  # for the controls, since the generator was not trained on these patients
    control: GeneratorSettings | None  # settings of the generator that is overfitted on purpose; None: no such control
    features: Callable[[ImagePatches], NDArray[np.float64]]  # encoder of a U-net trained on real patches
    scratch: Path  # folder of files that are removed after the audit
    unlabelled: PatchSet | None = None  # unlabelled people held out for the audit; no attack reads their vessel masks


@dataclass(frozen=True, kw_only=True)
class AuditInputs(RealInputs):
    """The real patches, and the generator and the set to audit."""

    synthetic: PatchSet
    latent_space: LatentSpace | None  # None if the generator has none that can be searched
    critic: PairCritic | None  # None if the generator's kind trains none
    step: int  # step of the chosen checkpoint
    probes: Sequence[Mapping[str, float]]  # the probe's scores of all probed checkpoints, the chosen one included
    at_step: Callable[[int], Sampler]  # the sampler of a probed checkpoint
    # Labels (n, x, y) that the generator itself drew with the set's images, to search them too; None if the set has them, or not searched.
    drawn_label: LabelPatches | None = None


@dataclass(frozen=True)
class Standardised:
    """Standardisation of features to mean 0 and deviation 1: mean and deviation, (features,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def by(cls, features: NDArray[np.float64]) -> Standardised:
        """Fit to features (n, features)."""
        deviation = features.std(axis=0)
        # A floor on the deviation: scaled to 1, a feature that hardly varies would be noise.
        return cls(features.mean(axis=0), np.maximum(deviation, max(0.01 * float(deviation.max()), 1e-6)))

    def of(self, features: NDArray[np.float64]) -> Points:
        """Standardise features (n, features)."""
        points: Points = ((features - self.mean) / self.deviation).astype(np.float32)
        return points


class RealData:
    """The real patches of an audit as arrays, points and features, each computed once.

    Mappings have the keys training, test and validation, and unlabelled if there are such people; `labels` does not have the last. The
    candidates, whose membership the attacks infer, are the patches of training patients, then of test patients, then of unlabelled
    people. The first `labelled` candidates have a label.

    Args:
        inputs: the patches.
        references: cached results of earlier audits of the same patches.
        synthetic: further sets to add to all mappings.
    """

    def __init__(self, inputs: RealInputs, references: References | None = None, synthetic: Mapping[str, PatchSet] | None = None) -> None:
        self.real, self.references = inputs, references or References()
        training, test = inputs.training, inputs.test
        sets = {"training": training, "test": test, "validation": inputs.validation, **(synthetic or {})}
        self.labels = {name: self._selected(patches, patches.label) for name, patches in sets.items()}
        if inputs.unlabelled is not None:
            sets["unlabelled"] = inputs.unlabelled
        self.images = {name: self._selected(patches, patches.image) for name, patches in sets.items()}
        names = {name: patches.patient[patches.rows] for name, patches in sets.items()}
        self.members = tuple(np.unique(names["training"]).tolist())
        self.others = tuple(name for part in OTHERS if part in names for name in np.unique(names[part]).tolist())
        self.patient = candidates_of(names)  # name of each candidate's patient
        self.labelled = len(training) + len(test)
        # For each patch the number of its patient within the set.
        numbers = {name: np.unique(patients, return_inverse=True)[1] for name, patients in names.items()}
        self.number, self.test_number, self.validation_number = (numbers[name] for name in ("training", "test", "validation"))
        self.unlabelled_number = numbers.get("unlabelled", np.zeros(0, np.int64))

    def _selected(self, patches: PatchSet, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The selected rows of one of the arrays of a set; the array itself if these are all its rows."""
        rows, mapped = patches.rows, np.asarray(array)
        if np.array_equal(rows, np.arange(len(mapped))):
            return np.ascontiguousarray(mapped)
        return stored((mapped[some] for some in chunks(rows)), (len(rows), *mapped.shape[1:]), self.real.scratch)

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
        """The number of the person of each patch of `others_of`."""
        return np.concatenate([self.test_number, len(np.unique(self.test_number)) + self.unlabelled_number])

    @property
    def training_points(self) -> PatientPoints:
        """Training patients' patches as points of pixels."""
        return PatientPoints(self.pixels["training"], self.number)

    @property
    def other_points(self) -> PatientPoints:
        """Patches of test patients and unlabelled people as points of pixels."""
        return PatientPoints(others_of(self.pixels), self.other_number)

    def split(self, scores: Mapping[str, float]) -> Patients:
        """Separate patients' scores into members and non-members."""
        # Attacks on labels give no score to patients without a label or without a vessel.
        members, others = (tuple(name for name in group if name in scores) for group in (self.members, self.others))
        return split_scores(scores, members, others)

    def spread_rows(self, count: int) -> NDArray[np.int64]:
        """Select at most `count` labelled candidates of each patient, evenly spaced; returns their rows."""
        patients = (np.flatnonzero(self.patient[: self.labelled] == name) for name in (*self.members, *self.others))
        return np.concatenate([rows[evenly(len(rows), count)] for rows in patients])

    def candidate_pairs(self, encoder: Encoder, rows: NDArray[np.int64]) -> Tensor:
        """Encode the pairs of labelled candidates at `rows` (k,): (k, 2, x, y), in the order of the rows."""
        training = len(self.real.training)
        first = encoded_pairs(self.real.training, rows[rows < training], encoder)
        second = encoded_pairs(self.real.test, rows[rows >= training] - training, encoder)
        order = np.argsort(np.concatenate([np.flatnonzero(rows < training), np.flatnonzero(rows >= training)]))
        return torch.cat([first, second])[torch.from_numpy(order)]


class AuditData(RealData):
    """The patches of an audit; all mappings also have the key synthetic."""

    def __init__(self, inputs: AuditInputs, references: References | None = None) -> None:
        super().__init__(inputs, references, {"synthetic": inputs.synthetic})
        self.inputs = inputs


def candidates_of(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Concatenate the arrays of training patients, test patients and, if the mapping has them, unlabelled people."""
    return np.concatenate([arrays["training"], others_of(arrays)])


def others_of(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Concatenate the arrays of test patients and, if the mapping has them, unlabelled people."""
    return np.concatenate([arrays[part] for part in OTHERS if part in arrays])


def sampled(patches: PatchSet, count: int) -> PatchSet:
    """Select at most `count` evenly spaced pairs of a set, which bounds time and memory of a large cohort's audit."""
    return replace(patches, rows=patches.rows[evenly(len(patches), count)])


def encoded_pairs(patches: PatchSet, rows: NDArray[np.int64], encoder: Encoder) -> Tensor:
    """Encode the pairs at `rows` (k,) as input of a network: (k, 2, x, y), image and label."""
    image, label = (torch.from_numpy(array) for array in patches.pairs(rows))
    return encoder.encode(image, label)


def evenly(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` evenly spaced integers from 0 to `length` - 1."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
