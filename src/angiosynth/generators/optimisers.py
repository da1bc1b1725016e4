"""Adam of the trainings, with a learning rate that changes from step to step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from angiosynth.generators.graphs import uses_graphs


def adam(network: nn.Module, rate: float, betas: tuple[float, float], target: torch.device) -> torch.optim.Adam:
    """Build Adam for a network on a device. In a CUDA graph the learning rate is a tensor, because numbers of a graph are constant."""
    graphs = uses_graphs(target)
    return torch.optim.Adam(network.parameters(), torch.tensor(rate, device=target) if graphs else rate, betas, fused=True)


def rate_of(optimiser: torch.optim.Optimizer) -> float:
    """Return the learning rate."""
    return float(optimiser.param_groups[0]["lr"])


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the following steps."""
    group = optimiser.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state, also one that was saved on another kind of device."""
    rate = optimiser.param_groups[0]["lr"]  # a number, or a tensor on the device; every step sets its value
    optimiser.load_state_dict(state)
    optimiser.param_groups[0]["lr"] = rate
