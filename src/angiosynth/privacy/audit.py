"""All attacks on one generator and its set, each with its control: the numbers, which `verdict` compares with limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.metrics.frechet import frechet_distance
from angiosynth.privacy.audited import AuditData, candidates_of, evenly
from angiosynth.privacy.blackbox import CLOSEST, guess_scores, set_scores
from angiosynth.privacy.critic import critic_scores
from angiosynth.privacy.fidelity import manifold_scores, vessel_statistics
from angiosynth.privacy.linkage import linkage_statistics
from angiosynth.privacy.medoids import medoid_scores
from angiosynth.privacy.membership import auc, by_patient, membership_statistics
from angiosynth.privacy.nearest import Indices, Neighbours, as_points
from angiosynth.privacy.planted_leaks import attack_planted_copies
from angiosynth.privacy.real_audit import RealAudit
from angiosynth.privacy.reconstruction import reconstruction_scores
from angiosynth.privacy.verdict import DRAWN
from angiosynth.privacy.worst_placed import patient_excess
from angiosynth.runtime.progress import progress
from angiosynth.settings.audit import AuditSettings

CRITICISED = 500  # patches of each patient that the critic scores
# Seconds of the parts of an audit of 41,000 patches and as many pairs of 96x96, for the time left.
SECONDS = {"copies": 345, "membership": 142, "linkage": 21, "nearer": 39, "planted": 30, "usefulness": 5}
CHECKPOINT_FIGURES = ("auc", "auc_low", "auc_high", "control", "p")  # reported for every checkpoint


class Audit(RealAudit):
    """The parts of an audit. Each method returns the value of one key of audit.json, or of a few."""

    def __init__(self, data: AuditData, settings: AuditSettings) -> None:
        super().__init__(data, settings)
        self.data = data

    def measured(self, title: str) -> dict[str, Any]:
        """Compute all numbers that `judge` and the audit's page need.

        Args:
            title: text of the progress bar.
        """
        data, settings = self.data, self.settings
        parts: dict[str, Callable[[], Any]] = {
            "copies": lambda: {**self.copies.statistics(), **self.drawn_copies()},
            "membership": lambda: {**self.set_attacks(), **self.generator_attacks()},
            "checkpoints": self.checkpoints,
            "linkage": self.linkage,
            "nearer": self.nearer,
            "plain_differences": self.plain_differences,
            "usefulness": self.usefulness,
            "planted": lambda: attack_planted_copies(data, self.copies, self.neighbours["synthetic"], settings),
            "overfitted": self.overfitted,
        }
        shares = [SECONDS.get(name, 1) for name in parts]
        numbers = {name: part() for name, part in progress(parts.items(), title, len(parts), shares=shares)}
        return {**numbers.pop("copies"), **numbers}  # the searches for copies have one key each

    def drawn_copies(self) -> dict[str, Any]:
        """Copies among the label maps that the generator itself drew, by DRAWN; empty if they are not searched."""
        label = self.data.inputs.drawn_label
        return {} if label is None else {DRAWN[space]: result for space, result in self.copies.statistics_of_labels(label).items()}

    @cached_property
    def neighbours(self) -> dict[str, Neighbours]:
        """The nearest neighbour of every candidate patch in the set and, as a control, among validation patients' patches."""
        pixels = self.data.pixels
        return {"synthetic": Neighbours.among(candidates_of(pixels), pixels["synthetic"]), "validation": self.validation_neighbours}

    @property
    def nearest_image(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores of the nearest-image attack for every candidate patch, and those of its control."""
        return -self.neighbours["synthetic"].distance, -self.neighbours["validation"].distance

    def set_attacks(self) -> dict[str, Any]:
        """Attacks that need the set alone: nearest image in pixels (all patches, closest patches) and in features, medoids, inference."""
        data = self.data
        attacks: dict[str, Any] = {}
        for name, share in (("images", 1.0), ("images_closest", CLOSEST)):
            attacks[name] = self._statistics(*self.nearest_image, data.patient, share)
        candidates, synthetic, controls = candidates_of(data.features), data.features["synthetic"], self.feature_controls
        attacks["features"] = self._statistics(set_scores(candidates, synthetic), controls["features"], data.patient)
        scores = medoid_scores(candidates, synthetic, self.settings.seed)
        attacks["medoids"] = self._statistics(scores, controls["medoids"], data.patient)
        guesses = [self._guesses(name, near.row) for name, near in self.neighbours.items()]
        has_vessel = ~np.isnan(guesses[0])
        attacks["inference"] = self._statistics(guesses[0][has_vessel], guesses[1][has_vessel], data.patient[: data.labelled][has_vessel])
        return attacks

    def _guesses(self, name: str, row: Indices) -> NDArray[np.float64]:
        """`guess_scores` of the labelled candidates; `row` has the nearest patch of every candidate in the set of this name."""
        labels, members = self.data.labels, len(self.data.inputs.training)
        of_parts = {"training": row[:members], "test": row[members : self.data.labelled]}
        return np.concatenate([guess_scores(labels[part], labels[name], rows) for part, rows in of_parts.items()])

    def generator_attacks(self) -> dict[str, Any]:
        """Attacks that need the generator or its critic, where its kind has a latent space or a critic."""
        data, seed = self.data, self.settings.seed
        space, critic = data.inputs.latent_space, data.inputs.critic
        attacks: dict[str, Any] = {}
        # Neither attack can be made without a generator, so both have the nearest-image attack's control, for the same patches.
        if space is not None:
            rows = data.spread_rows(self.settings.reconstructed)
            scores = reconstruction_scores(space, data.candidate_pairs(space, rows), self.settings.reconstruction_steps, seed)
            attacks["generator"] = self._statistics(scores, self.nearest_image[1][rows], data.patient[rows])
        if critic is not None:
            rows = data.spread_rows(CRITICISED)
            scores = critic_scores(critic, lambda batch: data.candidate_pairs(critic, rows[batch]), len(rows), seed)
            attacks["critic"] = self._statistics(scores, self.nearest_image[1][rows], data.patient[rows])
        return attacks

    def checkpoints(self) -> list[dict[str, Any]]:
        """The nearest-image attack on an equally large set from each probed checkpoint, with the probe's scores of the checkpoint."""
        inputs, control = self.data.inputs, self.nearest_image[1]
        checkpoints = []
        for probe in inputs.probes:
            step = int(probe["step"])
            scores = self.nearest_image[0] if step == inputs.step else self._scores_at(step)
            statistics = self._statistics(scores, control, self.data.patient)
            probed = {name: probe[name] for name in ("probe_dsc", "probe_dsc_real")}
            figures = {name: statistics[name] for name in CHECKPOINT_FIGURES}
            checkpoints.append({"step": step, "chosen": step == inputs.step, **probed, **figures})
        return checkpoints

    def _scores_at(self, step: int) -> NDArray[np.float32]:
        """Scores of the nearest-image attack on a set drawn by the checkpoint of another step."""
        inputs = self.data.inputs
        image, _ = inputs.at_step(step).pairs(len(inputs.synthetic), int(inputs.synthetic.meta["seed"]))
        return set_scores(candidates_of(self.data.pixels), as_points(image))

    def linkage(self) -> dict[str, Any]:
        """Linkage of synthetic patches to single training patients, compared with patches of people who were not trained on."""
        data, settings = self.data, self.settings
        return linkage_statistics(data.pixels["synthetic"], self.held_out, data.training_points, settings.bootstrap, settings.seed)

    def nearer(self) -> dict[str, Any]:
        """Share of synthetic patches nearer to training patients than to others, and the same share of validation patients' patches."""
        shares: dict[str, Any] = {}
        for space, validation in self.nearer_validation.items():
            shares[space] = self.nearer_of("synthetic", space) | {f"{name}_validation": value for name, value in validation.items()}
        return shares

    def plain_differences(self) -> dict[str, float]:
        """AUC, at least 0.5, with which mean grey level or vessel fraction alone distinguishes training patients from others."""
        differences = {}
        for name, arrays in {"mean_intensity": self.data.images, "vessel_fraction": self.data.labels}.items():
            values = candidates_of({name: array.mean(axis=(1, 2)) for name, array in arrays.items()})
            patients = self.data.split(by_patient(values, self.data.patient[: len(values)]))
            differences[name] = max(auc(patients.members, patients.others), auc(patients.others, patients.members))
        return differences

    def usefulness(self) -> dict[str, Any]:
        """Fidelity, diversity, Frechet distance and vessel statistics of the set, each with its value between two sets of real patches."""
        data, inputs = self.data, self.data.inputs
        count = min(self.settings.compared, len(inputs.synthetic), len(inputs.training), 2 * (len(inputs.training) // 2))
        real, synthetic = (data.features[name][evenly(len(data.features[name]), count)] for name in ("training", "synthetic"))
        order = np.argsort(data.number[evenly(len(data.number), count)] % 2, kind="stable")  # halves of the patients, not of the patches
        halves = real[order[: count // 2]], real[order[count // 2 :]]
        labels = {name: data.labels[name][evenly(len(data.labels[name]), count)] for name in ("training", "synthetic")}
        return {
            "synthetic": manifold_scores(real[: count // 2 * 2 : 2], synthetic[: count // 2 * 2 : 2]),
            "real": manifold_scores(*halves),
            "vessels": {"synthetic": vessel_statistics(labels["synthetic"]), "real": vessel_statistics(labels["training"])},
            **self._distances(),
        }

    def _distances(self) -> dict[str, float]:
        """Frechet distance of the set to the training patches, and of two halves of the training patients as its floor."""
        features = self.data.raw_features
        halves = [features["training"][self.data.number % 2 == half] for half in (0, 1)]
        if not len(halves[1]):
            halves = [features["training"][half::2] for half in (0, 1)]
        return {"fd_unet": frechet_distance(features["training"], features["synthetic"]), "fd_unet_floor": frechet_distance(*halves)}

    def _statistics(
        self, attack: NDArray[np.floating[Any]], control: NDArray[np.floating[Any]], patient: NDArray[np.str_], share: float = 1.0
    ) -> dict[str, Any]:
        """Statistics of an attack and its control from the scores (n,) of patches and their patients (n,)."""
        by_attack, by_control = (self.data.split(by_patient(scores, patient, share)) for scores in (attack, control))
        statistics = membership_statistics(by_attack, by_control, self.settings.bootstrap, self.settings.seed)
        return {**statistics, **patient_excess(by_attack, by_control)}
