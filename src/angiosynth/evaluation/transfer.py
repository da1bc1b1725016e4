"""Transfer to a second site: how much do n of its patients teach, with and without pre-training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from angiosynth.settings import TransferSettings


@dataclass(frozen=True)
class Subset:
    """One training of the grid: which of the second site's training patients it may see."""

    n_patients: int
    number: int
    patients: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as "2-patients-1"."""
        return f"{self.n_patients}-patients-{self.number}"


def subsets(patients: Sequence[str], settings: TransferSettings) -> Iterator[Subset]:
    """The same subsets for every pre-training: nested for growing n, so that the curve's points differ by added patients only.

    Numbers beyond the patients that there are become all of them, once; all of them make one subset, however many were asked for.
    """
    rng = np.random.default_rng(settings.seed)
    orders = [[sorted(patients)[i] for i in rng.permutation(len(patients))] for _ in range(settings.subsets)]
    counts = sorted({min(count, len(patients)) for count in settings.patients} - {0})
    for count in counts:
        seen: set[tuple[str, ...]] = set()
        for number, order in enumerate(orders):
            chosen = tuple(sorted(order[:count]))
            if chosen not in seen:
                seen.add(chosen)
                yield Subset(count, number, chosen)
