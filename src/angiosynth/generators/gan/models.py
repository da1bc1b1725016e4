"""Build a GAN from settings: generator, critic and the loss of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from angiosynth.generators.gan.adaptive import Augmentation
from angiosynth.generators.gan.kinds import DcganSettings, GanSettings, PublishedSettings, R3ganSettings, WganGpSettings, WganGpSnSettings
from angiosynth.generators.gan.losses import (
    DcganCriticLoss,
    FeatureMatchingLoss,
    RelativisticCriticLoss,
    RelativisticGeneratorLoss,
    WassersteinCriticLoss,
    WassersteinGeneratorLoss,
)
from angiosynth.generators.gan.networks import Critic, Discriminator, Generator, Norm
from angiosynth.generators.gan.residual import ResidualCritic, ResidualGenerator, Shape

AnyGenerator = Generator | ResidualGenerator
CriticLoss = WassersteinCriticLoss | DcganCriticLoss | RelativisticCriticLoss
GeneratorLoss = WassersteinGeneratorLoss | FeatureMatchingLoss | RelativisticGeneratorLoss


@dataclass(frozen=True)
class Gan:
    """Networks and losses of one GAN. Initial weights depend only on the seed, not on the global random state."""

    generator: AnyGenerator
    critic: nn.Module
    critic_loss: CriticLoss
    generator_loss: GeneratorLoss
    augmentation: Augmentation


def build_gan(settings: GanSettings, patch_size: int) -> Gan:
    """Build the networks and losses of a GAN with initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = build_generator(settings, patch_size)  # before the critic: the order of drawing determines the weights
        return Gan(generator, *CRITICS[settings.kind](settings, patch_size), _augmentation(settings))


def build_generator(settings: GanSettings, patch_size: int) -> AnyGenerator:
    """Build the generator alone, with initial weights."""
    if isinstance(settings, R3ganSettings):
        return ResidualGenerator(settings.latent_size, patch_size, _shape(settings), settings.noise)
    assert isinstance(settings, PublishedSettings)
    norm: Norm = "spectral" if getattr(settings, "spectral_norm", "") == "both" else "batch"
    return Generator(settings.latent_size, patch_size, settings.width, norm, settings.upsampling, settings.noise, settings.sharpen)


def encode_pairs(settings: GanSettings, image: Tensor, label: Tensor) -> Tensor:
    """Stack images in [-1, 1] and labels 0 or 1, (n, x, y) each, as (n, 2, x, y); labels become -1 and 1, or stay 0 and 1 as published."""
    return torch.stack([image, label * 2.0 - 1.0 if settings.label_range == "signed" else label], dim=1)


def _dcgan(settings: DcganSettings, patch_size: int) -> tuple[nn.Module, CriticLoss, GeneratorLoss]:
    critic = Discriminator(patch_size, settings.width, settings.minibatch_kernels, settings.minibatch_dimensions)
    loss = DcganCriticLoss(critic, settings.real_target, settings.fake_target)
    return critic, loss, FeatureMatchingLoss(critic, settings.feature_matching_weight)


def _wgan_gp(settings: WganGpSettings, patch_size: int) -> tuple[nn.Module, CriticLoss, GeneratorLoss]:
    return _wasserstein(Critic(patch_size, settings.width, "instance"), settings)


def _wgan_gp_sn(settings: WganGpSnSettings, patch_size: int) -> tuple[nn.Module, CriticLoss, GeneratorLoss]:
    return _wasserstein(Critic(patch_size, settings.width, "spectral"), settings)


def _wasserstein(critic: Critic, settings: WganGpSettings | WganGpSnSettings) -> tuple[nn.Module, CriticLoss, GeneratorLoss]:
    loss = WassersteinCriticLoss(critic, settings.gradient_penalty_weight, settings.gradient_penalty, settings.gradient_penalty_every)
    return critic, loss, WassersteinGeneratorLoss(critic)


def _r3gan(settings: R3ganSettings, patch_size: int) -> tuple[nn.Module, CriticLoss, GeneratorLoss]:
    critic = ResidualCritic(patch_size, _shape(settings))
    steps = settings.steps * settings.critic_iterations
    loss = RelativisticCriticLoss(critic, settings.gamma, settings.gamma_fall, steps, settings.gradient_penalty_every)
    return critic, loss, RelativisticGeneratorLoss(critic)


def _shape(settings: R3ganSettings) -> Shape:
    return Shape(settings.width, settings.blocks, settings.expansion, settings.group_channels)


def _augmentation(settings: GanSettings) -> Augmentation:
    """The augmentation before the critic; switched off for kinds without this setting."""
    if not isinstance(settings, R3ganSettings):
        return Augmentation("off", 0.0, 0.0, 1)
    probability, target, pairs = settings.augmentation_probability, settings.augmentation_target, settings.augmentation_pairs
    return Augmentation(settings.augmentation, probability, target, pairs)


# Kind -> builder of its critic and its two losses.
CRITICS: dict[str, Callable[[Any, int], tuple[nn.Module, CriticLoss, GeneratorLoss]]] = {
    "dcgan": _dcgan,
    "wgan-gp": _wgan_gp,
    "wgan-gp-sn": _wgan_gp_sn,
    "r3gan": _r3gan,
}
