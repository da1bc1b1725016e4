"""Transfer to another site: how much do n of its patients teach, with and without pre-training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from angiosynth.settings import TransferSettings


@dataclass(frozen=True)
class Subset:
    """One training of the grid: which of a site's training patients it may see."""

    n_patients: int
    number: int
    patients: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as "2-patients-1"."""
        return f"{self.n_patients}-patients-{self.number}"


def subsets(patients: Sequence[str], settings: TransferSettings) -> Iterator[Subset]:
    """The same subsets for every start: runs of one random circle of the patients, begun at places spread evenly round it.

    A larger subset of the same number goes on where the smaller one ended, so they are nested and a curve's points differ by added
    patients only. Two subsets of one size are never the same, and every patient is drawn as often as any other or once more or
    less, which independent draws do not give. Of a size there are as many as were asked for, or as there are patients.

    Sizes above the cohort's are clipped to it; the whole cohort makes one subset.
    """
    rng = np.random.default_rng(settings.seed)
    circle = [sorted(patients)[i] for i in rng.permutation(len(patients))]
    begun = min(settings.subsets, len(circle))
    for count in sorted({min(count, len(circle)) for count in settings.patients} - {0}):
        for number in range(begun if count < len(circle) else 1):
            first = number * len(circle) // begun
            yield Subset(count, number, tuple(sorted((circle + circle)[first : first + count])))
