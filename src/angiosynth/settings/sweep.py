"""Section `sweep` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from angiosynth.generators.base import Searched
from angiosynth.generators.registry import KINDS
from angiosynth.sections import Number, Positive, Section, Seed

Range = tuple[float | int | str, ...]


def searched_anywhere() -> dict[str, Searched]:
    """Return all values that a sweep can search in any kind of generator."""
    return {name: searched for kind in KINDS.values() for name, searched in kind.search.items()}


class SweepSettings(Section):
    """Search space, and size of one trial.

    `ranges`: searched value -> (low, high), where equal bounds fix the value, or its choices. Ranges apply to the kinds that have the
    value; values without an entry keep the range of the kind.
    """

    sampler: Literal["tpe", "nsgaii", "gp", "random"] = "tpe"
    seed: Seed = 1  # of the sampler
    # Repetitions of a trial, whose score is the mean: with the seeds of params.yaml, and with these raised by 1, 2, ...
    seeds: Annotated[int, Field(gt=0, le=100), Number] = 1
    generator_steps: Positive
    pairs: Positive
    unet_steps: Positive
    ranges: dict[str, Range] = Field(default_factory=dict)

    @field_validator("ranges", mode="before")
    @classmethod
    def _searched_by_some_kind(cls, ranges: Any) -> Any:
        known = searched_anywhere()
        for name, values in ranges.items() if isinstance(ranges, dict) else ():
            if name not in known:
                raise ValueError(f"{ascii(name)[1:-1]}: nothing of that name is searched; there are {', '.join(sorted(known))}")
            if problem := _problem(known[name], values):
                raise ValueError(f"{name}: {problem}")
        return ranges


def _problem(searched: Searched, values: Any) -> str:
    """Fault of a range; "" if it is valid."""
    if not isinstance(values, (list, tuple)) or not values:
        return "give two ends or a list of choices"
    if searched.scale == "choice":
        strange = [value for value in values if value not in searched.values]
        if strange:
            return f"{strange[0]!a} is no choice; there are {', '.join(searched.values)}"
        return "a choice stands there twice" if len(set(values)) < len(values) else ""
    if len(values) != 2 or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return "give two ends, low and high"
    if searched.scale == "whole" and any(isinstance(value, float) for value in values):
        return "give whole numbers"
    if searched.scale == "log" and not values[0] > 0:
        return f"the low end {values[0]} is not above 0"
    return "" if values[0] <= values[1] else f"{values[0]} is above {values[1]}; give the lower end first"
