"""Flow matching behind the registry's interface; `Family` documents the functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from angiosynth.compute.precision import autocast, device, place
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import CHUNK, Sampler
from angiosynth.generators.flow.encoding import encode_pairs
from angiosynth.generators.flow.kinds import FlowSettings
from angiosynth.generators.flow.models import build_flow
from angiosynth.generators.flow.training import FlowTraining, flow_sampler, train_flow
from angiosynth.generators.flow.transport import Flow, squared_errors
from angiosynth.generators.sampling import NoiseSampler
from angiosynth.runtime.rehearsal import Need, Rehearsal, doubles

GAPS = 1.0  # a step's tensors of many sizes fragment memory; batches of 32 and 128 at width 32 took 0.1 and 0.5 more than they count
SCORED_TIMES = (0.4, 0.55, 0.7, 0.85)  # little noise to half noise: where a network that knows a pair by heart tells it from others
SCORED_NOISES = 2

train = train_flow


def blank(settings: FlowSettings, patch_size: int) -> dict[str, dict[str, Tensor]]:
    weights = build_flow(settings, patch_size).state_dict()
    return {"generator": weights, "last": weights}


def sampler(settings: FlowSettings, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> NoiseSampler:
    return flow_sampler(_loaded(settings, patch_size, weights, device), settings, device)


def latent_space(sampler: Sampler) -> None:
    """Noise has as many values as a pair, and a flow maps them one to one: any patch, trained on or not, is drawn from some noise.

    So the distance that is left tells nothing. Whoever holds the weights attacks by the velocity's error: `critic`.
    """


def critic(settings: FlowSettings, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> VelocityCritic:
    return VelocityCritic(_loaded(settings, patch_size, weights["last"], device()), settings)


def _loaded(settings: FlowSettings, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> Flow:
    flow = build_flow(settings, patch_size)
    flow.load_state_dict(weights)
    place(flow, device)
    return flow.eval()


class VelocityCritic:
    """Minus the error of the velocity on paths to a pair: a `PairCritic`.

    A network predicts what it was trained on more closely, so the loss tells members (Carlini et al. 2023, section 5.1; Matsumoto et al.
    2023). Times and noises are the same for all pairs, so that scores differ by the pairs alone.
    """

    batch_size = CHUNK  # a score depends on no other pair

    def __init__(self, flow: Flow, settings: FlowSettings) -> None:
        self.flow, self.settings = flow, settings

    @torch.no_grad()
    def scores(self, pairs: Tensor) -> Tensor:
        ends = self.flow.standardised(pairs.to(device(), memory_format=torch.channels_last))
        random = torch.Generator().manual_seed(0)
        total = ends.new_zeros(len(ends))
        for time in SCORED_TIMES * SCORED_NOISES:
            noise = torch.randn(1, *ends.shape[1:], generator=random).to(ends.device).expand_as(ends)
            with autocast(self.settings.precision, ends.device):
                total += squared_errors(self.flow.velocity, ends, noise, ends.new_full((len(ends),), time)).mean(dim=1)
        return -total / len(SCORED_TIMES * SCORED_NOISES)

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        return encode_pairs(self.settings, image, label)


class _BlankTraining(FlowTraining):
    """A training whose batches have no content."""

    def real_batch(self, flip: bool) -> tuple[Tensor, Tensor]:
        blank = torch.zeros(self.settings.batch_size, self.patches.size, self.patches.size)
        return blank, blank

    def _encoded(self, image: Tensor, label: Tensor) -> Tensor:
        return torch.stack([image, label], dim=1)  # distances cannot be computed without content

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(2), torch.ones(2)


def _blank(settings: FlowSettings, patch_size: int) -> _BlankTraining:
    blank = np.zeros((1, patch_size, patch_size), np.uint8)
    return _BlankTraining(settings, PatchSet(blank, blank, np.full(1, ""), np.arange(1), {}, Path()))


def blank_training(settings: FlowSettings, patch_size: int) -> Callable[[], object]:
    return _blank(settings, patch_size).train_step


def rehearse(settings: FlowSettings, patch_size: int, counted: Rehearsal) -> Need:
    training = _blank(settings.model_copy(update={"sampling_steps": 1}), patch_size)  # one step is as large as several
    moments = doubles(training.flow)
    training.train_step()
    del moments
    lasting = counted.alive
    with torch.no_grad():
        training.average(torch.zeros(CHUNK, training.flow.size, device=training.device))
    checkpoint = 3 * lasting if training.device.type == "cpu" else lasting  # it is put together in memory, twice
    gaps = int(GAPS * max(0, counted.peak - lasting - counted.large))
    return Need(max(counted.peak + gaps, checkpoint), lasting)
