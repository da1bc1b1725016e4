"""Settings and search space of flow matching. Must not import torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from angiosynth.generators.base import GeneratorSettings, Kind, Searched
from angiosynth.sections import Decay, Number, PositiveFloat, Rate

MOST_LEVELS = 4  # with packing 2 the sides are halved four times, and sides of patches are multiples of 16
MOST_SAMPLING_STEPS = 200

Levels = Annotated[int, Field(ge=1, le=MOST_LEVELS), Number]
SamplingSteps = Annotated[int, Field(ge=1, le=MOST_SAMPLING_STEPS), Number]
SamplingPower = Annotated[float, Field(ge=0.25, le=4, allow_inf_nan=False), Number]
TimeMean = Annotated[float, Field(ge=-4, le=4, allow_inf_nan=False), Number]
TimeDeviation = Annotated[float, Field(gt=0, le=4, allow_inf_nan=False), Number]


class FlowSettings(GeneratorSettings):
    """Settings of flow matching."""

    kind: Literal["flow"] = "flow"
    levels: Levels = 3  # resolutions of the network; each halves the sides
    packing: Literal[1, 2] = 2  # side of the pixel blocks that are rearranged into channels of the first level
    learning_rate: Rate = 0.002
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    label: Literal["mask", "distance"] = "mask"  # distance: signed, in pixels, thresholded at zero when sampled
    distance_clip: PositiveFloat = 3.0  # pixels at which a distance counts as 1
    time_mean: TimeMean = -0.8  # mean log-odds of the training times; 0 is half way from noise to pairs, vessels form earlier
    time_deviation: TimeDeviation = 1.2  # standard deviation of the log-odds
    sampling_steps: SamplingSteps = 10  # network evaluations for one pair
    sampling_power: SamplingPower = 1.5  # exponent of the time grid of sampling; above 1 it is denser near the noise
    ema: Decay = 0.995  # decay of the averaged network, 0 for none
    decay: bool = True  # linear decay of the learning rate to zero over the second half
    flip: bool = True  # mirror real pairs left-right at random


KINDS = (
    Kind(
        "flow",
        "Flow matching",
        FlowSettings,
        "angiosynth.generators.flow.family",
        {
            "learning_rate": Searched("log", (3e-4, 5e-3)),
            "sampling_steps": Searched("whole", (6, 24)),
            "label": Searched("choice", ("mask", "distance")),
            "time_mean": Searched("linear", (-1.5, 0.5)),
            "time_deviation": Searched("linear", (0.5, 1.5)),
        },
        drawn_with=("width", "levels", "packing", "sampling_steps", "sampling_power", "precision"),
    ),
)
