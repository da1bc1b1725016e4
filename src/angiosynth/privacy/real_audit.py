"""The parts of an audit in which no generator has a part, each computed once for the audits of all generators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from angiosynth.privacy.audited import RealData, candidates_of, others_of
from angiosynth.privacy.blackbox import set_scores
from angiosynth.privacy.copies import CopyAudit
from angiosynth.privacy.linkage import HeldOut
from angiosynth.privacy.medoids import medoid_scores
from angiosynth.privacy.nearest import Neighbours, nearest_of_each
from angiosynth.privacy.nearness import nearer_to_training
from angiosynth.privacy.planted_leaks import attack_overfitted_generator
from angiosynth.runtime.progress import progress
from angiosynth.settings.audit import AuditSettings

SPACES = ("images", "features")  # in which nearness is measured


class RealAudit:
    """Features, thresholds, controls and the generator that learns by heart. All go through `data.references`."""

    def __init__(self, data: RealData, settings: AuditSettings) -> None:
        self.settings = settings
        self._real = data

    def prepare(self, title: str) -> None:
        """Compute everything that `data.references` does not know.

        Args:
            title: for progress.
        """
        steps: tuple[Callable[[], Any], ...] = (
            lambda: self._real.raw_features,
            lambda: self.validation_neighbours,
            lambda: self.feature_controls,
            lambda: self.held_out,
            lambda: self.nearer_validation,
            lambda: self.copies.thresholds,
            self.overfitted,
        )
        for step in progress(steps, title, len(steps)):
            step()

    @cached_property
    def validation_neighbours(self) -> Neighbours:
        """Of every candidate patch the nearest image of validation patients, a control."""

        def computed() -> dict[str, NDArray[Any]]:
            pixels = self._real.pixels
            return vars(Neighbours.among(candidates_of(pixels), pixels["validation"]))

        return Neighbours(**self._real.references.get("validation_neighbours", computed))

    @cached_property
    def feature_controls(self) -> dict[str, NDArray[Any]]:
        """Scores of all candidates in the controls of the attacks by features and by medoids."""

        def computed() -> dict[str, NDArray[Any]]:
            candidates, validation = candidates_of(self._real.features), self._real.features["validation"]
            return {"features": set_scores(candidates, validation), "medoids": medoid_scores(candidates, validation, self.settings.seed)}

        return self._real.references.get("feature_controls", computed)

    @cached_property
    def held_out(self) -> HeldOut:
        """To whom the patches of people who were not trained on lead."""
        data = self._real
        return HeldOut(**data.references.get("held_out", lambda: vars(HeldOut.of(data.other_points, data.training_points))))

    @cached_property
    def nearer_validation(self) -> dict[str, dict[str, float]]:
        """For each of SPACES the share of validation patients' patches nearer to training patients than to others."""
        return self._real.references.get("nearer_validation", lambda: {space: self.nearer_of("validation", space) for space in SPACES})

    def nearer_of(self, name: str, space: str) -> dict[str, float]:
        """`nearer_to_training` of a set."""
        data, settings = self._real, self.settings
        points = data.pixels if space == "images" else data.features
        training = nearest_of_each(points[name], points["training"], data.number)
        others = nearest_of_each(points[name], others_of(points), data.other_number)
        return nearer_to_training(training, others, settings.bootstrap, settings.seed)

    @cached_property
    def copies(self) -> CopyAudit:
        """Copies under symmetries, rotations and shifts, beside those of people who were not trained on."""
        return CopyAudit(self._real, self.settings)

    def overfitted(self) -> dict[str, Any]:
        """The attacks on a generator that learns a few patches by heart; empty where the inputs have no settings of one."""
        data, control = self._real, self._real.real.control
        if control is None:
            return {}
        # One of another width is another generator.
        return data.references.get(f"overfitted, width {control.width}", lambda: attack_overfitted_generator(data, control, self.settings))
