"""The private phantom as a kind: its settings. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from angiosynth.generators.base import GeneratorSettings, Kind
from angiosynth.sections import Fraction, Number, Positive, PositiveFloat

Epsilon = Annotated[float, Field(gt=0, le=64, allow_inf_nan=False), Number]
Delta = Annotated[float, Field(ge=1e-12, le=0.01, allow_inf_nan=False), Number]
Rounds = Annotated[int, Field(gt=0, le=100), Number]
Candidates = Annotated[int, Field(ge=4, le=512), Number]
Votes = Annotated[int, Field(gt=0, le=16), Number]
Heads = Annotated[int, Field(ge=2, le=64), Number]
Side = Annotated[int, Field(gt=0, le=512), Number]


class PrivatePhantomSettings(GeneratorSettings):
    """Settings of private evolution. All of them are public: none may be chosen by looking at the patients who vote."""

    kind: Literal["private-phantom"] = "private-phantom"
    steps: Rounds = 5  # rounds of voting
    checkpoint_choice: Literal["last"] = "last"  # a choice by patients' scans would be a release that nobody accounts for
    epsilon: Epsilon = 1.0  # of all rounds together, for one patient who takes part or does not
    delta: Delta = 1e-5  # below one over the number of patients
    noise_source: Literal["secure", "seeded"] = "secure"  # seeded: reproducible, for tests; such a set is not released
    candidates: Candidates = 32  # settings of the phantom that are voted on in a round
    votes: Votes = 4  # of a patient in a round, each for another candidate
    kept: Votes = 6  # candidates that the set is drawn from
    proposals: Literal["winners", "posterior"] = "posterior"  # who a round's candidates are varied from, and what the set is drawn from
    heads: Heads = 2  # that each candidate is drawn with to be described
    shape: tuple[Side, Side, Side] = (192, 224, 64)  # voxels of a drawn scan; of the protocol, not of a patient
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.8, 0.8, 1.0)
    diseased: Fraction = 0.5  # share of drawn heads with a stenosis or an occlusion
    vessel_share: Fraction = 0.4  # of patches centred on vessels, as section `patches` cuts them; to be described without labels they and
    # the next are centred on the brightest voxels
    bright_share: Fraction = 0.3  # of patches centred on bright voxels that are no vessel; the others are anywhere in the brain
    patches_a_head: Positive = 512  # of the drawn set

    @model_validator(mode="after")
    def _consistent(self) -> PrivatePhantomSettings:
        if self.vessel_share + self.bright_share > 1:
            raise ValueError("vessel_share and bright_share are more than 1 together")
        if max(self.votes, self.kept) > self.candidates:
            raise ValueError("votes and kept are at most the number of candidates")
        return self


KINDS = (
    Kind(
        "private-phantom",
        "Private phantom",
        PrivatePhantomSettings,
        "angiosynth.generators.private_evolution.family",
        votes=True,
        trains_network=False,
        unsearched="each trial on the same patients would be a release of its own, and the best would be chosen by validation patients, "
        "neither of which its epsilon covers; choose its settings on drawn sites (docs/private_phantom.md)",
        undefaulted=frozenset({"checkpoint_choice", "probes", "batch_size"}),
        drawn_with=("kept", "proposals", "shape", "spacing_mm", "diseased", "vessel_share", "bright_share", "patches_a_head"),
    ),
)
