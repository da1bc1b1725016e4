"""GANs as a `Family`, which documents the functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from angiosynth.compute.precision import device
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import CHUNK, Sampler
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import build_gan, build_generator, encode_pairs
from angiosynth.generators.gan.sampling import GanLatents, GanSampler
from angiosynth.generators.gan.training import GanTraining, train_gan
from angiosynth.runtime.rehearsal import Need, Rehearsal, doubles

# Allowance for memory fragmentation by tensors of many sizes, as a fraction of a step's temporary tensors. It is conservative:
# benchmarks/memory.py compares the estimates with trainings.
GAPS = 1.5

train = train_gan


def blank(settings: GanSettings, patch_size: int) -> dict[str, dict[str, Tensor]]:
    gan = build_gan(settings, patch_size)
    return {"generator": gan.generator.state_dict(), "critic": gan.critic.state_dict()}


def sampler(settings: GanSettings, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> GanSampler:
    generator = build_generator(settings, patch_size)
    generator.load_state_dict(weights)
    return GanSampler(generator.to(device).eval(), settings, device)


def latent_space(sampler: Sampler) -> GanLatents:
    assert isinstance(sampler, GanSampler)
    return GanLatents(sampler.network, sampler.settings, device())


def critic(settings: GanSettings, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> GanCritic:
    network = build_gan(settings, patch_size).critic
    network.load_state_dict(weights["critic"])
    return GanCritic(network.to(device()).eval(), settings)


class GanCritic:
    """The critic of the last step as a `PairCritic`. It has seen the training patches more often than the critic of the selected step."""

    def __init__(self, network: nn.Module, settings: GanSettings) -> None:
        self.network, self.settings, self.batch_size = network, settings, settings.batch_size

    @torch.no_grad()
    def scores(self, pairs: Tensor) -> Tensor:
        scores: Tensor = self.network(pairs.to(device()))
        return scores

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        return encode_pairs(self.settings, image, label)


class _BlankTraining(GanTraining):
    """A GAN training on constant batches, for measuring time and memory."""

    def _real_batch(self) -> Tensor:
        size = self.patches.size
        return torch.zeros(self.settings.batch_size, 2, size, size, device=self.device).contiguous(memory_format=torch.channels_last)


def _blank(settings: GanSettings, patch_size: int) -> _BlankTraining:
    blank = np.zeros((1, patch_size, patch_size), np.uint8)
    return _BlankTraining(settings, PatchSet(blank, blank, np.full(1, ""), np.arange(1), {}, Path()))


def blank_training(settings: GanSettings, patch_size: int) -> Callable[[], object]:
    return _blank(settings, patch_size).train_step


def rehearse(settings: GanSettings, patch_size: int, counted: Rehearsal) -> Need:
    # All critic steps take the same memory, so one suffices. It must include the penalty, which takes the most.
    ones = {name: 1 for name in ("critic_iterations", "gradient_penalty_every") if hasattr(settings, name)}
    training = _blank(settings.model_copy(update=ones), patch_size)
    moments = doubles(training.gan.generator), doubles(training.gan.critic)  # Adam's two moments, which the first step would allocate
    training.train_step()
    del moments
    lasting = counted.alive
    with torch.no_grad():
        training.average(torch.zeros(CHUNK, training.gan.generator.latent_size, device=training.device))
    # A checkpoint is assembled in main memory, twice, in addition to the state.
    checkpoint = 3 * lasting if training.device.type == "cpu" else lasting
    gaps = int(GAPS * max(0, counted.peak - lasting - counted.large))
    return Need(max(counted.peak + gaps, checkpoint), lasting)
