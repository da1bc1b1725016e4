"""Paths, their velocity, and its integration, against what can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from angiosynth.generators.flow.networks import VelocityNet
from angiosynth.generators.flow.transport import Flow, VelocityLoss, integrate, logit_normal, squared_errors, time_grid

START = torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _flow(steps: int = 4) -> Flow:
    """With a network that predicts nothing, as before training."""
    return Flow(VelocityNet(4, 2, 2, 8), 8, time_grid(steps, 1.5))


def test_the_loss_is_zero_for_the_paths_own_velocity_and_the_square_of_an_offset() -> None:
    ends, noise, times = _random(5, 2, 4, 4), _random(5, 2, 4, 4, seed=2), torch.linspace(0, 1, 5)
    assert squared_errors(lambda _x, _t: ends - noise, ends, noise, times).abs().max() == 0
    offset = torch.tensor([0.5, -2.0])[:, None, None]
    errors = squared_errors(lambda _x, _t: ends - noise + offset, ends, noise, times)
    torch.testing.assert_close(errors, torch.tensor([0.25, 4.0]).expand(5, 2))


def test_points_of_a_path_lie_between_noise_and_pair() -> None:
    ends, noise, times = _random(3, 2, 4, 4), _random(3, 2, 4, 4, seed=2), torch.tensor([0.0, 0.25, 1.0])
    seen: list[Tensor] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        assert t is times
        seen.append(x)
        return x

    squared_errors(field, ends, noise, times)
    expected = torch.stack([noise[0], 0.75 * noise[1] + 0.25 * ends[1], ends[2]])
    torch.testing.assert_close(seen[0], expected)


def test_the_loss_is_the_mean_over_both_channels() -> None:
    loss, parts = VelocityLoss(_flow())(_random(6, 2, 8, 8), _random(6, 2, 8, 8, seed=2), torch.full((6,), 0.5))
    assert loss.item() == pytest.approx((parts["velocity_loss_image"].item() + parts["velocity_loss_label"].item()) / 2)


@pytest.mark.parametrize("time", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_what_is_left_to_the_network_has_mean_0_and_deviation_1_and_is_not_linear_in_its_input(time: float) -> None:
    """For pairs of independent standard normal pixels: solve the velocity's formula for the network's output."""
    pairs, noise = _random(400, 2, 8, 8), _random(400, 2, 8, 8, seed=2)
    x, times, flow = (1 - time) * noise + time * pairs, torch.full((1,), time), _flow()
    scale = 1 / math.sqrt(time**2 + (1 - time) ** 2)
    rest = ((pairs - noise) - flow.velocity(x, times)) / scale
    assert rest.mean().item() == pytest.approx(0, abs=0.02)
    assert rest.std().item() == pytest.approx(1, abs=0.02)
    assert (scale * x).std().item() == pytest.approx(1, abs=0.02)
    assert (rest * x).mean().item() == pytest.approx(0, abs=0.02)


def test_the_flow_of_gaussian_noise_to_a_gaussian_has_its_moments() -> None:
    """The analytic velocity to pixels of mean m and deviation s: d/dt of (1 - t) x0 + t x1 given x, jointly normal."""
    mean, deviation = 1.5, 0.4

    def field(x: Tensor, time: Tensor) -> Tensor:
        t = time[:, None, None, None]
        gain = (t * deviation**2 - (1 - t)) / (t**2 * deviation**2 + (1 - t) ** 2)
        return mean + gain * (x - t * mean)

    noise = _random(200, 2, 8, 8)
    drawn = integrate(field, noise, time_grid(100, 1.0))
    torch.testing.assert_close(drawn, mean + deviation * noise, rtol=0, atol=0.02)


def test_an_untrained_flow_draws_noise_of_the_channels_mean_and_deviation() -> None:
    flow = _flow(steps=200)
    flow.mean.copy_(torch.tensor([0.5, -0.9]))
    flow.deviation.copy_(torch.tensor([0.25, 0.1]))
    noise = _random(3, flow.size)
    expected = torch.tensor([0.5, -0.9])[:, None, None] + torch.tensor([0.25, 0.1])[:, None, None] * noise.view(3, 2, 8, 8)
    torch.testing.assert_close(flow(noise), expected, rtol=0, atol=0.01)
    torch.testing.assert_close(flow.restored(flow.standardised(expected)), expected)


def test_a_constant_velocity_is_integrated_exactly() -> None:
    end = integrate(lambda x, _t: torch.full_like(x, 3.0), START, time_grid(7, 1.5))
    torch.testing.assert_close(end, START + 3.0)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 3.0])
def test_a_velocity_linear_in_time_is_integrated_exactly_but_for_the_first_step(power: float) -> None:
    times = time_grid(6, power)
    end = integrate(lambda x, t: torch.zeros_like(x) + 1.0 + 4.0 * t[:, None, None, None], START, times)
    missing = 4.0 * times[1] ** 2 / 2  # of Euler's first step: slope 1 in place of its mean over the step
    torch.testing.assert_close(end, START + 1.0 + 2.0 - missing)


def test_three_steps_by_hand() -> None:
    """dx/dt = x + t from x = 1 over the times 0, 0.1, 0.4, 1."""
    x = 1.0
    first = x + 0.0
    x += 0.1 * first
    second = x + 0.1
    x += 0.3 * (second + 0.3 / (2 * 0.1) * (second - first))
    third = x + 0.4
    x += 0.6 * (third + 0.6 / (2 * 0.3) * (third - second))
    end = integrate(lambda y, t: y + t[:, None, None, None], torch.ones(1, 1, 1, 1), [0.0, 0.1, 0.4, 1.0])
    assert end.item() == pytest.approx(x)


def test_the_error_falls_with_the_square_of_the_step() -> None:
    """dx/dt = x: the end is e times the start."""
    errors = [(integrate(lambda x, _t: x, START.double(), time_grid(n, 1.0)) - math.e * START.double()).abs().max() for n in (40, 80, 160)]
    assert [float(errors[0] / errors[1]), float(errors[1] / errors[2])] == [pytest.approx(4, rel=0.1)] * 2


def test_times_of_the_grid() -> None:
    assert time_grid(4, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert time_grid(2, 2.0) == [0.0, 0.25, 1.0]


def test_times_in_training_have_normal_log_odds() -> None:
    times = logit_normal(20_000, -0.8, 1.2, torch.Generator().manual_seed(1))
    odds = torch.logit(times)
    assert times.min() > 0
    assert times.max() < 1
    assert [odds.mean().item(), odds.std().item()] == pytest.approx([-0.8, 1.2], abs=0.03)
    assert torch.equal(times[:5], logit_normal(20_000, -0.8, 1.2, torch.Generator().manual_seed(1))[:5])
