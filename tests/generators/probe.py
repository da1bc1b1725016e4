"""A probe whose scores a test sets, and that can stop a training."""

from __future__ import annotations

from angiosynth.generators.base import Sampler


class Interrupted(Exception):  # noqa: N818 -- stands for a kill
    """The training stops here."""


class Probe:
    """Scores by a table; raises where a step is to be the last."""

    def __init__(self, scores: dict[int, float] | None = None, stop_at: int | None = None) -> None:
        self.scores, self.stop_at = scores or {}, stop_at
        self.asked: list[int] = []

    def __call__(self, sampler: Sampler, step: int) -> dict[str, float]:
        del sampler
        self.asked.append(step)
        if step == self.stop_at:
            raise Interrupted
        return {"probe_dsc": self.scores.get(step, step / 100)}
