"""Build a flow from settings."""

from __future__ import annotations

import torch

from angiosynth.generators.flow.kinds import FlowSettings
from angiosynth.generators.flow.networks import VelocityNet
from angiosynth.generators.flow.transport import Flow, time_grid


def build_flow(settings: FlowSettings, patch_size: int) -> Flow:
    """Build a flow with initial weights that depend only on the seed, not on the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = VelocityNet(settings.width, settings.levels, settings.packing, patch_size)
        return Flow(network, patch_size, time_grid(settings.sampling_steps, settings.sampling_power))
