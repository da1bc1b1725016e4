"""Settings and search spaces of the three GANs of the paper and of R3GAN. Must not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from angiosynth.generators.base import GeneratorSettings, Kind, Searched
from angiosynth.sections import Batch, Decay, Fraction, NonNegative, Positive, PositiveFloat, Rate

FAMILY = "angiosynth.generators.gan.family"


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"{ends[0]} is above {ends[1]}; give the lower end first")
    return ends


Ends = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ascending)]


class GanSettings(GeneratorSettings):
    """Settings of every GAN."""

    latent_size: Batch = 128
    critic_iterations: Positive
    learning_rate_generator: Rate
    learning_rate_critic: Rate
    betas: tuple[Decay, Decay]
    noise: bool = True  # noise maps in addition to the latent vector, for the grain of the scan
    label_range: Literal["signed", "binary"] = "signed"  # binary: 0 and 1, thresholded at 0.8, as published
    ema: Decay = 0.995  # decay of the averaged generator, 0 for none
    decay: bool = True  # linear decay of the learning rates to zero over the second half
    flip: bool = True  # mirror real pairs left-right at random


class PublishedSettings(GanSettings):
    """Settings of the paper's GANs, which share a generator architecture."""

    upsampling: Literal["resize", "transposed"] = "resize"
    sharpen: bool = True  # one more generator layer at full resolution


class DcganSettings(PublishedSettings):
    kind: Literal["dcgan"] = "dcgan"
    real_target: Ends = (0.7, 1.2)
    fake_target: Ends = (0.0, 0.3)
    feature_matching_weight: PositiveFloat = 0.01  # feature matching is the only loss of the generator
    minibatch_kernels: Batch = 100
    minibatch_dimensions: Batch = 5


class WassersteinSettings(PublishedSettings):
    gradient_penalty_weight: NonNegative = 10.0
    gradient_penalty: Literal["sample", "batch"] = "sample"
    gradient_penalty_every: Positive = 1  # critic steps between penalties; the weight of each is multiplied by this


class WganGpSettings(WassersteinSettings):
    kind: Literal["wgan-gp"] = "wgan-gp"


class WganGpSnSettings(WassersteinSettings):
    kind: Literal["wgan-gp-sn"] = "wgan-gp-sn"
    spectral_norm: Literal["critic", "both"] = "critic"


class R3ganSettings(GanSettings):
    """Settings of R3GAN (Huang et al. 2024), with defaults for small networks and few steps."""

    kind: Literal["r3gan"] = "r3gan"
    critic_iterations: Positive = 1
    betas: tuple[Decay, Decay] = (0.0, 0.99)
    gamma: PositiveFloat = 1.0  # weight of R1 and R2 at the first step
    gamma_fall: PositiveFloat = 1.0  # ratio of gamma at the first step to gamma at the last
    gradient_penalty_every: Positive = 2  # critic steps between penalties; the weight of each is multiplied by this
    blocks: Batch = 1  # residual blocks at each resolution
    expansion: Batch = 1  # ratio of the channels within a block to those between blocks
    group_channels: Batch = 16  # channels in a group of the 3x3 convolutions; a single group if they do not divide the channels
    augmentation: Literal["off", "fixed", "adaptive"] = "off"  # of real and generated pairs before the critic
    augmentation_probability: Fraction = 0.2  # "fixed": probability of each transformation
    augmentation_target: Fraction = 0.6  # "adaptive": mean sign of D(real) - D(fake) above which the probability rises
    augmentation_pairs: Positive = 500_000  # "adaptive": number of real pairs over which the probability can rise from 0 to 1


# Optuna's sampler draws values in the order of `search`. Changing the order changes the study of a seed.
ITERATIONS = {"critic_iterations": Searched("whole", (1, 5))}
PENALTY = {"gradient_penalty_weight": Searched("log", (1.0, 20.0))}
RATES = {
    "learning_rate_generator": Searched("log", (5e-5, 1e-3)),
    "learning_rate_critic": Searched("log", (5e-5, 1e-3)),
}
DRAWN_WITH = ("latent_size", "width", "noise", "label_range", "precision")
PUBLISHED = (*DRAWN_WITH, "upsampling", "sharpen")
FIXUP_RATES = {name: Searched("log", (2e-4, 4e-3)) for name in RATES}  # blocks that start as the identity tolerate higher rates
KINDS = (
    Kind(
        "dcgan",
        "DCGAN",
        DcganSettings,
        FAMILY,
        ITERATIONS
        | RATES
        | {
            "real_target_low": Searched("linear", (0.6, 1.0), "real_target", 0),
            "fake_target_high": Searched("linear", (0.05, 0.4), "fake_target", 1),
            "feature_matching_weight": Searched("log", (1e-3, 1e-1)),
        },
        drawn_with=PUBLISHED,
    ),
    Kind("wgan-gp", "WGAN-GP", WganGpSettings, FAMILY, ITERATIONS | PENALTY | RATES, drawn_with=PUBLISHED),
    Kind(
        "wgan-gp-sn",
        "WGAN-GP-SN",
        WganGpSnSettings,
        FAMILY,
        ITERATIONS | PENALTY | RATES | {"spectral_norm": Searched("choice", ("critic", "both"))},
        drawn_with=(*PUBLISHED, "spectral_norm"),
    ),
    Kind(
        "r3gan",
        "R3GAN",
        R3ganSettings,
        FAMILY,
        FIXUP_RATES | {"gamma": Searched("log", (0.05, 50.0))},
        drawn_with=(*DRAWN_WITH, "blocks", "expansion", "group_channels"),
    ),
)


def memoriser(defaults: Mapping[str, Any], steps: int, seed: int) -> GanSettings:
    """Return the settings of a GAN that memorises a few pairs: small latent, no noise, small batches, high constant learning rates.

    Args:
        defaults: section `generator_defaults`, for the sizes of the networks.
        steps: number of generator steps.
        seed: seed of weights and batches.
    """
    shape = {name: defaults[name] for name in ("width", "upsampling", "sharpen", "label_range", "precision") if name in defaults}
    return WganGpSettings(
        **shape,
        steps=steps,
        latent_size=4,
        batch_size=8,
        critic_iterations=2,
        learning_rate_generator=1.5e-3,
        learning_rate_critic=1.5e-3,
        betas=(0.0, 0.9),
        noise=False,
        flip=False,
        decay=False,
        ema=0.9,
        checkpoint_choice="last",
        checkpoint_every=steps,
        seed=seed,
    )
