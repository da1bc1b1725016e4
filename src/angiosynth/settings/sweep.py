"""The section `sweep` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from angiosynth.settings.sections import NonNegative, Positive, PositiveFloat, Rate, Section, Seed


class SweepSettings(Section):
    """Search space and size of one trial; ranges are (low, high), equal ends hold a value fast."""

    sampler: Literal["tpe", "nsgaii", "gp", "random"] = "tpe"
    seed: Seed = 1
    gan_steps: Positive
    pairs: Positive
    unet_steps: Positive
    critic_iterations: tuple[Positive, Positive] = (1, 5)
    gradient_penalty_weight: tuple[PositiveFloat, PositiveFloat] = (1.0, 20.0)
    learning_rate_generator: tuple[Rate, Rate] = (5e-5, 1e-3)
    learning_rate_critic: tuple[Rate, Rate] = (5e-5, 1e-3)
    real_target_low: tuple[NonNegative, NonNegative] = (0.6, 1.0)  # DCGAN: the lower end of real_target
    fake_target_high: tuple[NonNegative, NonNegative] = (0.05, 0.4)  # DCGAN: the upper end of fake_target
    feature_matching_weight: tuple[PositiveFloat, PositiveFloat] = (1e-3, 1e-1)  # DCGAN
    spectral_norm: Annotated[tuple[Literal["critic", "both"], ...], Field(min_length=1)] = ("critic", "both")  # WGAN-GP-SN

    @model_validator(mode="after")
    def _ranges_stand_upright(self) -> SweepSettings:
        for name in type(self).model_fields:
            ends = getattr(self, name)
            if isinstance(ends, tuple) and not isinstance(ends[0], str) and ends[0] > ends[1]:
                raise ValueError(f"{name}: {ends[0]} is above {ends[1]}; give the lower end first")
        if len(set(self.spectral_norm)) < len(self.spectral_norm):
            raise ValueError("spectral_norm: a choice stands there twice")
        return self
