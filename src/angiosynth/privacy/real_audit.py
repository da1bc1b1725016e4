"""The parts of an audit that do not depend on the generator, each computed once for the audits of all generators."""

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

SPACES = ("images", "features")  # spaces of the measure `nearer`


class RealAudit:
    """Features, thresholds, controls and the overfitted generator of an audit, all cached in `data.references`."""

    def __init__(self, data: RealData, settings: AuditSettings) -> None:
        self.settings = settings
        self._real = data

    def prepare(self, title: str) -> None:
        """Compute everything that `data.references` does not hold yet.

        Args:
            title: text of the progress bar.
        """
        # With the seconds of each for 41,000 patches of 96x96, for the time left.
        steps: tuple[tuple[Callable[[], Any], float], ...] = (
            (lambda: self._real.raw_features, 45),
            (lambda: self.validation_neighbours, 6),
            (lambda: self.feature_controls, 3),
            (lambda: self.held_out, 4),
            (lambda: self.nearer_validation, 8),
            (lambda: self.copies.thresholds, 140),
            (self.overfitted, 93),
        )
        for step, _ in progress(steps, title, len(steps), shares=[seconds for _, seconds in steps]):
            step()

    @cached_property
    def validation_neighbours(self) -> Neighbours:
        """The nearest validation patch of every candidate patch: the control of the nearest-image attack."""

        def computed() -> dict[str, NDArray[Any]]:
            pixels = self._real.pixels
            return vars(Neighbours.among(candidates_of(pixels), pixels["validation"]))

        return Neighbours(**self._real.references.get("validation_neighbours", computed))

    @cached_property
    def feature_controls(self) -> dict[str, NDArray[Any]]:
        """Scores of all candidates in the controls of the attacks in features and by medoids: validation patches instead of the set."""

        def computed() -> dict[str, NDArray[Any]]:
            candidates, validation = candidates_of(self._real.features), self._real.features["validation"]
            return {"features": set_scores(candidates, validation), "medoids": medoid_scores(candidates, validation, self.settings.seed)}

        return self._real.references.get("feature_controls", computed)

    @cached_property
    def held_out(self) -> HeldOut:
        """Agreement of the nearest training patches of people who were not trained on."""
        data = self._real
        return HeldOut(**data.references.get("held_out", lambda: vars(HeldOut.of(data.other_points, data.training_points))))

    @cached_property
    def nearer_validation(self) -> dict[str, dict[str, float]]:
        """`nearer_of` validation patients' patches in each of SPACES."""
        return self._real.references.get("nearer_validation", lambda: {space: self.nearer_of("validation", space) for space in SPACES})

    def nearer_of(self, name: str, space: str) -> dict[str, float]:
        """`nearer_to_training` of the patches of a key of `data`, in one of SPACES."""
        data, settings = self._real, self.settings
        points = data.pixels if space == "images" else data.features
        training = nearest_of_each(points[name], points["training"], data.number)
        others = nearest_of_each(points[name], others_of(points), data.other_number)
        return nearer_to_training(training, others, settings.bootstrap, settings.seed)

    @cached_property
    def copies(self) -> CopyAudit:
        """The searches for copies."""
        return CopyAudit(self._real, self.settings)

    def overfitted(self) -> dict[str, Any]:
        """The attacks on a generator that is overfitted on purpose; empty if the inputs have no settings for it."""
        data, control = self._real, self._real.real.control
        if control is None:
            return {}
        # The width is part of the key, since generators of different widths have different results.
        return data.references.get(f"overfitted, width {control.width}", lambda: attack_overfitted_generator(data, control, self.settings))
