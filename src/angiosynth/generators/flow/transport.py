"""Flow matching: straight paths from noise to pairs, the velocity along them, and its integration.

A path is x(t) = (1 - t) noise + t pair, t from 0 to 1, with velocity pair - noise (Lipman et al. 2023, section 4.1, optimal transport
paths; Liu et al. 2023, rectified flow). Many paths pass through a point x(t); a network fitted by least squares predicts their mean
velocity. The mean velocity satisfies the same continuity equation as the paths, so integrating it from noise yields the distribution of
the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from angiosynth.generators.flow.networks import CHANNELS, VelocityNet

Field = Callable[[Tensor, Tensor], Tensor]  # (points (n, 2, x, y), times (n,) or (1,)) -> velocities (n, 2, x, y)


class Flow(nn.Module):
    """Map standard normal noise (n, size) to pairs (n, 2, x, y) by integrating a learnt velocity over a grid of times.

    Attributes:
        size: 2 * x * y, the number of values of a pair.
        mean, deviation: (2,) mean and standard deviation of the training images and labels. Paths end at standardised pairs, with
            mean 0 and standard deviation 1 in each channel.
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
        """Return the velocity (n, 2, x, y) at points x (n, 2, x, y) and times (n,) or (1,).

        The network's input and target are scaled to unit variance at all times, and the component of the velocity that is linear in x is
        computed in closed form (the preconditioning of Karras et al. 2022, section 5, for straight paths). Let
        s = 1 / sqrt(t^2 + (1 - t)^2). The points have standard deviation 1 / s, the best linear prediction of the velocity is
        s^2 (2 t - 1) x, and the residual has standard deviation s. Hence velocity = s ((2 t - 1) (s x) + network(s x, t)).
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
        """Standardise pairs (n, 2, x, y) with the channels' mean and deviation, giving ends of paths."""
        return (pairs - self.mean[:, None, None]) / self.deviation[:, None, None]

    def restored(self, ends: Tensor) -> Tensor:
        """Invert `standardised`."""
        return self.mean[:, None, None] + self.deviation[:, None, None] * ends


class VelocityLoss(nn.Module):
    """Mean squared error of the velocity over image and label."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, ends: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms for image and label by name.

        Args:
            ends: standardised pairs, (n, 2, x, y).
            noise: starts of the paths, (n, 2, x, y).
            times: (n,) in [0, 1].
        """
        errors = squared_errors(self.flow.velocity, ends, noise, times).mean(dim=0)
        return errors.mean(), {"velocity_loss_image": errors[0], "velocity_loss_label": errors[1]}


def squared_errors(field: Field, ends: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Mean squared error (n, 2) of a field for each path and channel. Arguments as in `VelocityLoss.forward`."""
    # The velocity of a straight path is constant: its end minus its start.
    t = times[:, None, None, None]
    error = field((1.0 - t) * noise + t * ends, times) - (ends - noise)
    return error.square().mean(dim=(2, 3))


def logit_normal(count: int, mean: float, deviation: float, random: torch.Generator) -> Tensor:
    """Draw times (count,) with normal log-odds: mostly mid-path, where the velocity is hardest to predict (Esser et al. 2024, 3.1)."""
    return torch.sigmoid(mean + deviation * torch.randn(count, generator=random))


def time_grid(steps: int, power: float) -> list[float]:
    """Return steps + 1 times (i / steps)^power from 0 to 1; above 1 it is denser near the noise, where large structures form."""
    return [(step / steps) ** power for step in range(steps + 1)]


def integrate(field: Field, x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate dx/dt = field(x, t) over a grid of times with the two-step Adams-Bashforth method, which has order two.

    The slope at the middle of each step is extrapolated linearly from the slopes at the starts of this step and the previous one; the first
    step is an Euler step. This evaluates the field once per step, Heun's method twice; docs/flow.md compares the two.

    Args:
        field: the velocity.
        x: (n, 2, x, y) at the first time.
        times: ascending; steps may differ in length.

    Returns:
        (n, 2, x, y) at the last time.
    """
    previous: tuple[float, Tensor] | None = None  # time and slope at the start of the previous step
    for start, end in pairwise(times):
        slope = field(x, x.new_full((1,), start))
        middle = slope
        if previous is not None:
            # the middle lies (end - start) / 2 after the start, at which the slope changes by (slope - previous slope) / (previous step)
            middle = slope + (end - start) / (2.0 * (start - previous[0])) * (slope - previous[1])
        previous = start, slope
        x = x + (end - start) * middle
    return x
