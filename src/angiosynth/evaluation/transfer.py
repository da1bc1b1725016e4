"""Subsets of a site's patients for the trainings of the stages transfer and worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from angiosynth.settings import TransferSettings, WorthSettings


@dataclass(frozen=True)
class Subset:
    """The patients of one training: the `number`-th subset of size `n_patients`."""

    n_patients: int
    number: int
    patients: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the subset, for example "2-patients-1"."""
        return f"{self.n_patients}-patients-{self.number}"


def subsets(patients: Sequence[str], settings: TransferSettings | WorthSettings) -> Iterator[Subset]:
    """Yield subsets of a site's training patients, the same for every start.

    Patients are arranged on a circle in random order. The subsets of one size are arcs whose starting points are spread evenly around the
    circle. Larger subsets with the same number contain the smaller ones, so the points of a learning curve differ only by added patients.
    Subsets of one size are distinct and use all patients equally often, up to one; independent draws would not guarantee this.

    Args:
        patients: names of the training patients.
        settings: sizes, number of subsets of each size (clipped to the number of patients), seed.

    Yields:
        Subsets ordered by size, then by number. Sizes above the cohort's are clipped to it; the whole cohort is one subset.
    """
    rng = np.random.default_rng(settings.seed)
    circle = [sorted(patients)[i] for i in rng.permutation(len(patients))]
    starts = min(settings.subsets, len(circle))
    for count in sorted({min(count, len(circle)) for count in settings.patients} - {0}):
        for number in range(starts if count < len(circle) else 1):
            first = number * len(circle) // starts
            yield Subset(count, number, tuple(sorted((circle + circle)[first : first + count])))
