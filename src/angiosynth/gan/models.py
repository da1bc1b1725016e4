"""From settings to a GAN's four parts: generator, critic and the loss of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from angiosynth.gan.losses import DcganCriticLoss, FeatureMatchingLoss, WassersteinCriticLoss, WassersteinGeneratorLoss
from angiosynth.gan.networks import Critic, Discriminator, Generator, Norm
from angiosynth.settings import DcganSettings, GanSettings, WganGpSnSettings


@dataclass(frozen=True)
class Gan:
    """One model, ready to train. Networks are drawn from the seed alone, whatever was drawn before."""

    generator: Generator
    critic: nn.Module
    critic_loss: WassersteinCriticLoss | DcganCriticLoss
    generator_loss: WassersteinGeneratorLoss | FeatureMatchingLoss


def build_gan(model: str, settings: GanSettings, patch_size: int) -> Gan:
    """The networks and losses of "dcgan", "wgan-gp" or "wgan-gp-sn"."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.common.seed)
        generator = build_generator(model, settings, patch_size)
        return _with_critic(model, settings, patch_size, generator)


def build_generator(model: str, settings: GanSettings, patch_size: int) -> Generator:
    """The generator alone, with fresh weights."""
    own, common = settings.of(model), settings.common
    spectral = isinstance(own, WganGpSnSettings) and own.spectral_norm == "both"
    norm: Norm = "spectral" if spectral else "batch"
    return Generator(own.latent_size, patch_size, common.width, norm, common.upsampling, common.noise, common.sharpen)


def label_to_range(label: Tensor, settings: GanSettings) -> Tensor:
    """Labels 0 and 1 as the GAN sees them: -1 and 1, or 0 and 1 as published."""
    return label * 2.0 - 1.0 if settings.common.label_range == "signed" else label


def _with_critic(model: str, settings: GanSettings, patch_size: int, generator: Generator) -> Gan:
    own, width = settings.of(model), settings.common.width
    if isinstance(own, DcganSettings):
        discriminator = Discriminator(patch_size, width, own.minibatch_kernels, own.minibatch_dimensions)
        return Gan(
            generator,
            discriminator,
            DcganCriticLoss(discriminator, own.real_target, own.fake_target),
            FeatureMatchingLoss(discriminator, own.feature_matching_weight),
        )
    critic = Critic(patch_size, width, "spectral" if isinstance(own, WganGpSnSettings) else "instance")
    loss = WassersteinCriticLoss(critic, own.gradient_penalty_weight, own.gradient_penalty)
    return Gan(generator, critic, loss, WassersteinGeneratorLoss(critic))
