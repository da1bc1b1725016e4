"""The subsets of a site's patients that transfer and worth train with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from angiosynth.settings import TransferSettings, WorthSettings


@dataclass(frozen=True)
class Subset:
    """The patients of one training of the grid."""

    n_patients: int
    number: int
    patients: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as "2-patients-1"."""
        return f"{self.n_patients}-patients-{self.number}"


def subsets(patients: Sequence[str], settings: TransferSettings | WorthSettings) -> Iterator[Subset]:
    """Subsets of a site's training patients, the same for every start.

    Patients are put on a circle in random order. The subsets of a size are runs of neighbours that begin at points spread evenly around it.
    Larger subsets of one number extend the smaller ones, so the points of a learning curve differ by added patients only. Subsets of one
    size differ, and each patient is in as many of them as any other, or one more or less; independent draws would not ensure that.

    Args:
        patients: names of the training patients.
        settings: sizes, number of subsets of each size (at most as many as there are patients), seed.

    Yields:
        Subsets by size, then by number. Sizes above the cohort's are clipped to it; the whole cohort is one subset.
    """
    rng = np.random.default_rng(settings.seed)
    circle = [sorted(patients)[i] for i in rng.permutation(len(patients))]
    starts = min(settings.subsets, len(circle))
    for count in sorted({min(count, len(circle)) for count in settings.patients} - {0}):
        for number in range(starts if count < len(circle) else 1):
            first = number * len(circle) // starts
            yield Subset(count, number, tuple(sorted((circle + circle)[first : first + count])))
