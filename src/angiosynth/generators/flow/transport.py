"""Straight paths from noise to pairs, the velocity along them, and its integration.

A path is x(t) = (1 - t) noise + t pair, t from 0 to 1, with the velocity pair - noise (Lipman et al. 2023, section 4.1, optimal transport
paths; Liu et al. 2023, rectified flow). A network that fits it in the least squares predicts its mean over all paths through x(t), and
integrating that mean carries noise to pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from angiosynth.generators.flow.networks import CHANNELS, VelocityNet

Field = Callable[[Tensor, Tensor], Tensor]  # points (n, 2, x, y) and times (n,) or (1,) to velocities


class Flow(nn.Module):
    """Standard normal noise (n, size) to pairs (n, 2, x, y), by integrating a learnt velocity over a grid of times.

    Attributes:
        size: 2 * x * y, one number for each pixel of image and label.
        mean, deviation: (2,) of the training's images and labels. Paths end at pairs of mean 0 and deviation 1 in each channel.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: VelocityNet, patch_size: int, times: Sequence[float]) -> None:
        super().__init__()
        self.network, self.times = network, times
        self.shape = (CHANNELS, patch_size, patch_size)
        self.size = math.prod(self.shape)
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))

    def velocity(self, x: Tensor, time: Tensor) -> Tensor:
        """The velocity (n, 2, x, y) at points of the paths and times (n,) or (1,).

        The network's input and target have deviation 1 at all times, and what is linear in x is not left to it (Karras et al. 2022,
        section 5, for straight paths): with s = 1 / sqrt(t^2 + (1 - t)^2) the points have deviation 1 / s, the best linear prediction of
        the velocity is s^2 (2 t - 1) x, and the rest has deviation s.
        """
        t = time[:, None, None, None]
        scale = torch.rsqrt(t.square() + (1.0 - t).square())
        scaled = scale * x
        predicted: Tensor = self.network(scaled, time)
        return scale * ((2.0 * t - 1.0) * scaled + predicted)

    def forward(self, noise: Tensor) -> Tensor:
        starts = noise.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)
        return self.restored(integrate(self.velocity, starts, self.times))

    def standardised(self, pairs: Tensor) -> Tensor:
        """Pairs as ends of paths."""
        return (pairs - self.mean[:, None, None]) / self.deviation[:, None, None]

    def restored(self, ends: Tensor) -> Tensor:
        """The inverse of `standardised`."""
        return self.mean[:, None, None] + self.deviation[:, None, None] * ends


class VelocityLoss(nn.Module):
    """Mean square of the velocity's error over image and label."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, ends: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts by name. `ends`: standardised pairs (n, 2, x, y); `noise`: (n, 2, x, y); `times`: (n,)."""
        errors = squared_errors(self.flow.velocity, ends, noise, times).mean(dim=0)
        return errors.mean(), {"velocity_loss_image": errors[0], "velocity_loss_label": errors[1]}


def squared_errors(field: Field, ends: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Mean square (n, 2) of a field's error in each path and channel; arguments as of `VelocityLoss`."""
    t = times[:, None, None, None]
    error = field((1.0 - t) * noise + t * ends, times) - (ends - noise)
    return error.square().mean(dim=(2, 3))


def logit_normal(count: int, mean: float, deviation: float, random: torch.Generator) -> Tensor:
    """Times (count,) whose log-odds are normal: most of them half way, where the velocity is hardest to tell (Esser et al. 2024, 3.1)."""
    return torch.sigmoid(mean + deviation * torch.randn(count, generator=random))


def time_grid(steps: int, power: float) -> list[float]:
    """Times (steps + 1) from 0 to 1, (i / steps)^power: above 1 they are denser near the noise, where large structures are decided."""
    return [(step / steps) ** power for step in range(steps + 1)]


def integrate(field: Field, x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate dx/dt = field(x, t) over a grid of times by the two-step method of Adams and Bashforth, of second order.

    Each step extrapolates the slope to the step's middle, linearly from the slopes at its start and at the start of the step before; the
    first step is Euler's. It evaluates the field once a step, Heun's method twice: docs/flow.md compares them.
    """
    before: tuple[float, Tensor] | None = None
    for now, then in pairwise(times):
        slope = field(x, x.new_full((1,), now))
        middle = slope
        if before is not None:
            middle = slope + (then - now) / (2.0 * (now - before[0])) * (slope - before[1])
        before = now, slope
        x = x + (then - now) * middle
    return x
