"""All attacks on one GAN and its set, each beside its control, and the leaks that were planted to test them: numbers, no judgement."""

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
from angiosynth.privacy.blackbox import CLOSEST, inference_scores, set_scores
from angiosynth.privacy.controls import few_of, overfitted, planted
from angiosynth.privacy.critic import critic_scores
from angiosynth.privacy.feature_copies import Described, search_in_features, with_smooth
from angiosynth.privacy.fidelity import manifold_scores, vessel_statistics
from angiosynth.privacy.linkage import agreement, linkage
from angiosynth.privacy.membership import Patients, auc, by_patient, membership, of_split, rank_p
from angiosynth.privacy.memorisation import CopySearch, copies, nearer_to_training, search_copies
from angiosynth.privacy.nearest import Points, as_points, nearest_of_each
from angiosynth.privacy.reconstruction import reconstruction_scores
from angiosynth.settings.audit import AuditSettings

CRITICISED = 500  # patches a patient that the critic scores
UNSEEN = 64  # test patients' patches beside those that the control's GAN was overfitted to
PLANTED_CHECKED = 200
CHECKED_IN_FEATURES = 500  # at most
Encoder = LatentSpace | PairCritic
Copied = tuple[dict[str, Any], CopySearch]  # numbers for audit.json, and where the closest pairs are
SHOWN = ("auc", "auc_low", "auc_high", "control", "p")  # of a checkpoint that was not chosen


@dataclass(frozen=True)
class Audited:
    """What is audited, and the real patches of all three parts of the split."""

    training: PatchSet
    test: PatchSet
    third: PatchSet  # validation patients': what controls compare with, as they know nothing of the GAN
    synthetic: PatchSet
    latent_space: LatentSpace | None  # of the generator, where it has one that can be searched
    critic: PairCritic | None  # where its kind trains one
    control: GeneratorSettings  # of a generator that learns by heart
    features: Callable[[ImagePatches], NDArray[np.float64]]  # of a U-net trained on real patches
    step: int  # of the chosen generator
    probes: Sequence[Mapping[str, float]]  # what the probe found of this and of other steps' generators, which are `at_step`
    at_step: Callable[[int], Sampler]
    scratch: Path  # for what must not outlive the audit


class Audit:
    """The parts of an audit; each returns what goes under its name into audit.json."""

    def __init__(self, audited: Audited, settings: AuditSettings) -> None:
        self.of, self.settings = audited, settings
        training, test = audited.training, audited.test
        self.members = tuple(np.unique(training.patient[training.rows]).tolist())
        self.others = tuple(np.unique(test.patient[test.rows]).tolist())
        self.images = {name: np.ascontiguousarray(part.image[part.rows]) for name, part in self._parts().items()}
        self.labels = {name: np.ascontiguousarray(part.label[part.rows]) for name, part in self._parts().items()}
        self.patient = np.concatenate([training.patient[training.rows], test.patient[test.rows]])
        self.number = np.unique(training.patient[training.rows], return_inverse=True)[1]
        self.test_number = np.unique(test.patient[test.rows], return_inverse=True)[1]

    def _parts(self) -> dict[str, PatchSet]:
        return {"training": self.of.training, "test": self.of.test, "third": self.of.third, "synthetic": self.of.synthetic}

    @cached_property
    def pixels(self) -> dict[str, Points]:
        return {name: as_points(images) for name, images in self.images.items()}

    @cached_property
    def raw_features(self) -> dict[str, NDArray[np.float64]]:
        return {name: self.of.features(images) for name, images in self.images.items()}

    @cached_property
    def features(self) -> dict[str, Points]:
        return {name: self._standardised(one) for name, one in self.raw_features.items()}

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        training = self.raw_features["training"]
        deviation = training.std(axis=0)
        return training.mean(axis=0), np.maximum(deviation, max(0.01 * float(deviation.max()), 1e-6))

    def _standardised(self, features: NDArray[np.float64]) -> Points:
        """By the training patches, so that each feature counts alike; one that hardly ever varies counts little."""
        mean, scale = self._scale
        points: Points = ((features - mean) / scale).astype(np.float32)
        return points

    @cached_property
    def nearest_image(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores of the nearest-image attack for every candidate patch, and those of its control."""
        candidates = _candidates(self.pixels)
        return set_scores(candidates, self.pixels["synthetic"]), set_scores(candidates, self.pixels["third"])

    def set_attacks(self) -> dict[str, Any]:
        """Whoever holds the set: nearest neighbours in pixels, over all patches and over the closest; in features; inference."""
        found: dict[str, Any] = {}
        for name, share in (("images", 1.0), ("images_closest", CLOSEST)):
            found[name] = self._membership(*self.nearest_image, self.patient, share)
        candidates = _candidates(self.features)
        attack, control = (set_scores(candidates, self.features[part]) for part in ("synthetic", "third"))
        found["features"] = self._membership(attack, control, self.patient, 1.0)
        candidates, label = _candidates(self.pixels), _candidates(self.labels)
        told, usual = (inference_scores(candidates, label, self.pixels[part], self.labels[part]) for part in ("synthetic", "third"))
        known = ~np.isnan(told)
        found["inference"] = self._membership(told[known], usual[known], self.patient[known], 1.0)
        return found

    def checkpoints(self) -> list[dict[str, Any]]:
        """The nearest-image attack on a set as large from every generator that the probe saw, beside what the probe made of it."""
        found = []
        for probe in self.of.probes:
            step = int(probe["step"])
            scores = self.nearest_image[0] if step == self.of.step else self._scores_at(step)
            told = self._membership(scores, self.nearest_image[1], self.patient, 1.0)
            probed = {name: probe[name] for name in ("probe_dsc", "probe_dsc_real")}
            found.append({"step": step, "chosen": step == self.of.step, **probed, **{name: told[name] for name in SHOWN}})
        return found

    def _scores_at(self, step: int) -> NDArray[np.float32]:
        image, _ = self.of.at_step(step).pairs(len(self.of.synthetic), int(self.of.synthetic.meta["seed"]))
        return set_scores(_candidates(self.pixels), as_points(image))

    def generator_attacks(self) -> dict[str, Any]:
        """Whoever holds the generator, or the critic as well: what its kind has of these."""
        space, critic = self.of.latent_space, self.of.critic
        scores: dict[str, Any] = {}
        if space is not None:
            rows = self._spread(self.settings.reconstructed)
            attack = reconstruction_scores(space, self._pairs(space, rows), self.settings.reconstruction_steps, self.settings.seed)
            scores["generator"] = self._membership(attack, self.nearest_image[1][rows], self.patient[rows], 1.0)
        if critic is not None:
            rows = self._spread(CRITICISED)
            attack = critic_scores(critic, lambda some: self._pairs(critic, rows[some]), len(rows), self.settings.seed)
            scores["critic"] = self._membership(attack, self.nearest_image[1][rows], self.patient[rows], 1.0)
        return scores

    def linkage(self) -> dict[str, Any]:
        """Do synthetic patches lead back to one training patient?"""
        points, own = self.pixels, self.settings
        return linkage(points["synthetic"], points["test"], self.test_number, points["training"], self.number, own.bootstrap, own.seed)

    def nearer(self) -> dict[str, Any]:
        """Share of synthetic patches nearer to training patients than to others, and the same of validation patients' patches."""
        found: dict[str, Any] = {}
        for space, points in (("images", self.pixels), ("features", self.features)):
            for what in ("synthetic", "third"):
                training = nearest_of_each(points[what], points["training"], self.number)
                others = nearest_of_each(points[what], points["test"], self.test_number)
                numbers = nearer_to_training(training, others, self.settings.bootstrap, self.settings.seed)
                ending = "_third" if what == "third" else ""
                found.setdefault(space, {}).update({f"{name}{ending}": value for name, value in numbers.items()})
        return found

    def copied(self) -> dict[str, Copied]:
        """Copies under flips, turns and shifts, in pixels and in U-net features; what is usual is shown by validation patients' patches."""
        ratio, parts = self.settings.limits.copy_ratio, {"synthetic": "synthetic", "third": "validation"}
        found, usual = (self.searched(self.images[part], self.features[part], self.settings.checked, what) for part, what in parts.items())
        names = ("copies", "copies_features")
        return {name: (copies(one.ratios, plain.ratios, ratio), one) for name, one, plain in zip(names, found, usual, strict=True)}

    def plain_differences(self) -> dict[str, float]:
        """How well grey level and vessel fraction alone tell training from test patients: AUC, never below a half."""
        values = {"mean_intensity": self.images, "vessel_fraction": self.labels}
        found = {}
        for name, parts in values.items():
            sides = self._patients(by_patient(_candidates(parts).mean(axis=(1, 2)), self.patient))
            found[name] = max(auc(sides.members, sides.others), auc(sides.others, sides.members))
        return found

    def usefulness(self) -> dict[str, Any]:
        """Likeness, variety and vessels of the set, each beside what real patches give against each other."""
        count = min(self.settings.compared, len(self.of.synthetic), len(self.of.training), 2 * (len(self.of.training) // 2))
        real, synthetic = (self.features[part][_evenly(len(self.features[part]), count)] for part in ("training", "synthetic"))
        order = np.argsort(self.number[_evenly(len(self.number), count)] % 2, kind="stable")  # halves of the patients, not of the patches
        halves = real[order[: count // 2]], real[order[count // 2 :]]
        labels = {part: self.labels[part][_evenly(len(self.labels[part]), count)] for part in ("training", "synthetic")}
        return {
            "synthetic": manifold_scores(real[: count // 2 * 2 : 2], synthetic[: count // 2 * 2 : 2]),
            "real": manifold_scores(*halves),
            "vessels": {"synthetic": vessel_statistics(labels["synthetic"]), "real": vessel_statistics(labels["training"])},
        }

    def planted_copies(self) -> list[dict[str, Any]]:
        """The set with some of it replaced by training patches: what search and attack make of that."""
        points, count = self.pixels, len(self.of.synthetic)
        candidates = _candidates(points)
        found = []
        for share in self.settings.planted:
            number = max(1, round(share * count))
            images, _ = planted(self.images["training"], number, self.settings.seed)
            pool = np.concatenate([points["synthetic"][: count - number], as_points(images)])
            scores = set_scores(candidates, pool)
            sides = [self._patients(by_patient(scores, self.patient, part)) for part in (1.0, CLOSEST)]
            best = min(sides, key=lambda side: rank_p(side.members, side.others))
            checked = images[:PLANTED_CHECKED]
            searches = self.searched(checked, self.describe(checked), len(checked), f"planted {share:.0%}")
            seen, also = (float((one.ratios < self.settings.limits.copy_ratio).mean()) for one in searches)
            told = {"auc": auc(best.members, best.others), "p": rank_p(best.members, best.others)}
            found.append({"share": share, "copies": seen * number / count, "copies_features": also * number / count, **told})
        return found

    def overfitted_gan(self) -> dict[str, Any]:
        """A GAN that has seen a few patches of one patient: do the attacks tell these from patches of others?"""
        own, patient = self.settings, self.members[0]
        few = few_of(self.of.training, patient, own.overfit_patches, own.seed)
        sampler, space, critic = overfitted(self.of.control, few, self.of.scratch / "overfitted")
        image, _ = sampler.pairs(min(500, len(self.of.synthetic)), own.seed)
        rows = _evenly(len(self.of.test), UNSEEN)
        learnt, images = len(few), np.concatenate([few.image[few.rows], self.images["test"][rows]])

        def pairs(encoder: Encoder) -> Tensor:
            return torch.cat([_as_pairs(few, np.arange(len(few)), encoder), _as_pairs(self.of.test, rows, encoder)])

        judged = pairs(critic)
        scores = {
            "set": set_scores(as_points(images), as_points(image)),
            "generator": reconstruction_scores(space, pairs(space), own.reconstruction_steps, own.seed),
            "critic": critic_scores(critic, lambda some: judged[torch.from_numpy(some)], len(judged), own.seed),
        }
        found: dict[str, Any] = {}
        for name, one in scores.items():
            values = np.asarray(one, np.float64)
            found[name] = {"auc": auc(values[:learnt], values[learnt:]), "p": rank_p(values[:learnt], values[learnt:])}
        leads, usual = (agreement(points, self.pixels["training"], self.number)[1] for points in (as_points(image), self.pixels["test"]))
        shares = np.bincount(leads, minlength=len(self.members)) / len(leads)
        found["linkage"] = {"share": float(shares[0]), "share_held_out": float((usual == 0).mean()), "first": bool(shares.argmax() == 0)}
        return found

    def searched(self, images: ImagePatches, features: Points, checked: int, what: str) -> tuple[CopySearch, CopySearch]:
        """Copies among images (n, x, y) with these features: in pixels and in features, `checked` of them under all symmetries."""
        pixels = search_copies(images, self.images["training"], self.images["test"], checked, f"copies, {what} patches")
        few, queries = min(checked, CHECKED_IN_FEATURES), Described(images, features)
        return pixels, search_in_features(queries, *self._described, few, self.describe, pixels)

    @cached_property
    def _described(self) -> tuple[Described, Described]:
        """Training and test patients' patches as the search for copies in features wants them."""
        training, test = (with_smooth(self.images[part], self.features[part], self.describe) for part in ("training", "test"))
        return training, test

    def describe(self, images: ImagePatches) -> Points:
        """Features of images on the scale of all others."""
        return self._standardised(self.of.features(images))

    def _membership(
        self, attack: NDArray[np.floating[Any]], control: NDArray[np.floating[Any]], patient: NDArray[np.str_], share: float
    ) -> dict[str, Any]:
        sides = [self._patients(by_patient(values, patient, share)) for values in (attack, control)]
        return membership(sides[0], sides[1], self.settings.bootstrap, self.settings.seed)

    def _patients(self, scores: dict[str, float]) -> Patients:
        # A patient without a vessel has no score in the attack that looks at labels.
        return of_split(scores, *(tuple(name for name in part if name in scores) for part in (self.members, self.others)))

    def _spread(self, count: int) -> NDArray[np.int64]:
        """Numbers of so many of each person's patches among the candidates, evenly over all; training patients first."""
        rows = (np.flatnonzero(self.patient == name) for name in (*self.members, *self.others))
        return np.concatenate([some[_evenly(len(some), count)] for some in rows])

    def _pairs(self, encoder: Encoder, rows: NDArray[np.int64]) -> Tensor:
        """Candidates' pairs (k, 2, x, y): training patients' come first, then test patients'."""
        training = len(self.of.training)
        first = _as_pairs(self.of.training, rows[rows < training], encoder)
        second = _as_pairs(self.of.test, rows[rows >= training] - training, encoder)
        order = np.argsort(np.concatenate([np.flatnonzero(rows < training), np.flatnonzero(rows >= training)]))
        return torch.cat([first, second])[torch.from_numpy(order)]


def _candidates(parts: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Training patients' and then test patients'."""
    return np.concatenate([parts["training"], parts["test"]])


def _as_pairs(patches: PatchSet, rows: NDArray[np.int64], encoder: Encoder) -> Tensor:
    """(k, 2, x, y): image and label as the networks see them."""
    image, label = (torch.from_numpy(part) for part in patches.pairs(rows))
    return encoder.encode(image, label)


def _evenly(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` numbers below `length`, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
