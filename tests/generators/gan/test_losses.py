"""The GANs' losses, with numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.losses import (
    DcganCriticLoss,
    FeatureMatchingLoss,
    RelativisticCriticLoss,
    RelativisticGeneratorLoss,
    WassersteinCriticLoss,
    WassersteinGeneratorLoss,
    gradient_penalty,
    smooth_targets,
)


class Linear(nn.Module):
    """D(x) = <w, x>: its gradient is w everywhere."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights).view(1, -1, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(1, 2, 3))


class Square(nn.Module):
    """D(x) = |x|^2 / 2: its gradient is x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(dim=(1, 2, 3)) / 2


def _pairs(*rows: tuple[float, float]) -> Tensor:
    return torch.tensor(rows).view(len(rows), 2, 1, 1)


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _draws() -> Draws:
    return Draws(_random())


REAL = _pairs((1.0, 2.0), (3.0, -1.0), (0.0, 0.0), (2.0, 2.0))
FAKE = _pairs((0.0, 1.0), (1.0, 1.0), (-1.0, 0.0), (0.0, 0.0))


def test_the_penalty_of_a_linear_critic_by_sample() -> None:
    # gradient (3, 4) for each sample: norm 5, (5 - 1)^2
    assert gradient_penalty(Linear(3.0, 4.0), REAL, FAKE, _draws(), "sample").item() == pytest.approx(16.0)


def test_the_penalty_of_a_linear_critic_by_batch() -> None:
    # four samples of norm 5 together have norm 10, (10 - 1)^2
    assert gradient_penalty(Linear(3.0, 4.0), REAL, FAKE, _draws(), "batch").item() == pytest.approx(81.0)


def test_a_critic_of_slope_one_is_not_punished() -> None:
    assert gradient_penalty(Linear(0.6, 0.8), REAL, FAKE, _draws(), "sample").item() == pytest.approx(0.0, abs=1e-10)


def test_the_penalty_looks_between_real_and_fake_with_one_weight_a_sample() -> None:
    real, fake = _pairs((2.0, 0.0), (2.0, 0.0), (2.0, 0.0)), _pairs((4.0, 0.0), (4.0, 0.0), (4.0, 0.0))
    weights = torch.rand((3, 1, 1, 1), generator=_random()).flatten()
    expected = ((2.0 + 2.0 * weights - 1.0) ** 2).mean().item()  # |x| at the points between
    assert gradient_penalty(Square(), real, fake, _draws(), "sample").item() == pytest.approx(expected, rel=1e-6)
    weight = torch.rand(1, generator=_random()).item()
    together = math.sqrt(3) * (2.0 + 2.0 * weight)
    assert gradient_penalty(Square(), real, fake, _draws(), "batch").item() == pytest.approx((together - 1.0) ** 2, rel=1e-6)


def test_the_penalty_pushes_the_critic_towards_slope_one() -> None:
    critic = Linear(3.0, 4.0)
    gradient_penalty(critic, REAL, FAKE, _draws(), "sample").backward()
    assert critic.weight.grad is not None
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w| = 8 * (0.6, 0.8)
    torch.testing.assert_close(critic.weight.grad.flatten(), torch.tensor([4.8, 6.4]))


def test_the_wasserstein_critics_loss() -> None:
    loss, numbers = WassersteinCriticLoss(Linear(3.0, 4.0), 10.0, "sample")(REAL, FAKE, _draws(), 10.0)  # type: ignore[arg-type]
    real, fake = (11.0 + 5.0 + 0.0 + 14.0) / 4, (4.0 + 7.0 - 3.0 + 0.0) / 4
    assert numbers["critic_distance"].item() == pytest.approx(real - fake)
    assert numbers["gradient_penalty"].item() == pytest.approx(16.0)
    assert loss.item() == pytest.approx(fake - real + 160.0)


def test_a_lazy_penalty_comes_with_the_last_of_k_steps_and_k_times_its_weight() -> None:
    every_step = WassersteinCriticLoss(Linear(3.0, 4.0), 10.0, "sample")(REAL, FAKE, _draws(), 10.0)[0]  # type: ignore[arg-type]
    lazy = WassersteinCriticLoss(Linear(3.0, 4.0), 10.0, "sample", penalty_every=3)  # type: ignore[arg-type]
    losses, names = [], []
    for number in range(6):
        loss, numbers = lazy(REAL, FAKE, _draws(), lazy.weight(number))
        losses.append(loss.item())
        names.append("gradient_penalty" in numbers)
    assert names == [False, False, True] * 2
    assert sum(losses[:3]) == pytest.approx(3 * every_step.item())
    assert losses[:3] == losses[3:]


def test_the_wasserstein_generators_loss_falls_where_the_score_rises() -> None:
    loss = WassersteinGeneratorLoss(Linear(3.0, 4.0))  # type: ignore[arg-type]
    assert loss(REAL, FAKE).item() == pytest.approx(-2.0)
    assert loss(REAL, FAKE + 1.0).item() == pytest.approx(-9.0)


@pytest.mark.parametrize("bounds", [(0.7, 1.2), (0.0, 0.3)])
def test_smoothed_targets_fill_their_range(bounds: tuple[float, float]) -> None:
    targets = smooth_targets(torch.zeros(4000), bounds, _draws())
    low, high = bounds
    assert low <= targets.min() < low + 0.01
    assert high - 0.01 < targets.max() <= high
    assert targets.mean().item() == pytest.approx((low + high) / 2, abs=0.01)
    assert len(targets.unique()) > 3900  # one a sample


def test_the_dcgan_critics_loss_by_hand() -> None:
    loss, numbers = DcganCriticLoss(Linear(3.0, 4.0), (1.1, 1.1), (0.2, 0.2))(REAL, FAKE, _draws())  # type: ignore[arg-type]

    def entropy(logit: float, target: float) -> float:
        chance = 1 / (1 + math.exp(-logit))
        return -target * math.log(chance) - (1 - target) * math.log(1 - chance)

    on_real, on_fake = (11.0, 5.0, 0.0, 14.0), (4.0, 7.0, -3.0, 0.0)
    expected = sum(entropy(x, 1.1) for x in on_real) / 4 + sum(entropy(x, 0.2) for x in on_fake) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    chances = [[1 / (1 + math.exp(-x)) for x in scores] for scores in (on_real, on_fake)]
    assert numbers["critic_distance"].item() == pytest.approx((sum(chances[0]) - sum(chances[1])) / 4, rel=1e-5)


def test_feature_matching_by_hand() -> None:
    # means (1.5, 0.75) and (0, 0.5): mean distance (1.5 + 0.25) / 2
    loss = FeatureMatchingLoss(Linear(1.0, 1.0), 0.01)  # type: ignore[arg-type]
    assert loss(REAL, FAKE).item() == pytest.approx(0.01 * 0.875)
    assert loss(REAL, REAL.flip(0)).item() == 0.0


def test_feature_matching_sends_gradients_to_the_fake_alone() -> None:
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    FeatureMatchingLoss(Linear(1.0, 1.0), 1.0)(real, fake).backward()  # type: ignore[arg-type]
    assert real.grad is None
    # sign of the mean's distance / features / samples
    assert fake.grad is not None
    torch.testing.assert_close(fake.grad.flatten(1), torch.full((4, 2), -1 / 8))


def _softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_the_relativistic_losses_compare_row_by_row() -> None:
    ahead = (11.0 - 4.0, 5.0 - 7.0, 0.0 + 3.0, 14.0 - 0.0)  # D(real) - D(fake) of a critic (3, 4)
    critic = Linear(3.0, 4.0)
    loss, numbers = RelativisticCriticLoss(critic, 0.5, 1.0, 10)(REAL, FAKE, _draws(), 0.5)
    penalty = 0.5 / 2 * (25.0 + 25.0)  # the gradient is (3, 4) everywhere
    assert loss.item() == pytest.approx(sum(_softplus(-value) for value in ahead) / 4 + penalty)
    assert numbers["real_penalty"].item() == numbers["fake_penalty"].item() == pytest.approx(25.0)
    assert numbers["critic_distance"].item() == pytest.approx(sum(ahead) / 4)
    assert numbers["critic_order"].item() == pytest.approx((3 - 1) / 4)
    assert RelativisticGeneratorLoss(critic)(REAL, FAKE).item() == pytest.approx(sum(_softplus(value) for value in ahead) / 4)


def test_zero_centred_penalties_of_a_curved_critic_are_the_squared_norms_of_both_batches() -> None:
    _, numbers = RelativisticCriticLoss(Square(), 1.0, 1.0, 10)(REAL, FAKE, _draws(), 1.0)
    assert numbers["real_penalty"].item() == pytest.approx((5.0 + 10.0 + 0.0 + 8.0) / 4)
    assert numbers["fake_penalty"].item() == pytest.approx((1.0 + 2.0 + 1.0 + 0.0) / 4)


def test_a_constant_critic_is_not_punished_and_knows_nothing() -> None:
    loss, numbers = RelativisticCriticLoss(Linear(0.0, 0.0), 100.0, 1.0, 10)(REAL, FAKE, _draws(), 100.0)
    assert loss.item() == pytest.approx(math.log(2.0))
    assert numbers["real_penalty"].item() == numbers["fake_penalty"].item() == numbers["critic_order"].item() == 0


def test_zero_centred_penalties_push_the_critic_towards_slope_zero() -> None:
    critic = Linear(3.0, 4.0)
    loss, _ = RelativisticCriticLoss(critic, 0.5, 1.0, 10)(REAL, REAL.clone(), _draws(), 0.5)
    loss.backward()
    assert critic.weight.grad is not None
    # real and fake are equal, so the first term's gradients cancel; d/dw gamma / 2 * 2 |w|^2 = 2 gamma w
    torch.testing.assert_close(critic.weight.grad.flatten(), torch.tensor([3.0, 4.0]))


def test_gamma_falls_log_linearly_from_the_first_step_to_the_last() -> None:
    loss = RelativisticCriticLoss(Linear(3.0, 4.0), 2.0, 100.0, 5)
    assert [loss.weight(number) for number in (0, 2, 4)] == pytest.approx([2.0, 0.2, 0.02])
    first, last = (loss(REAL, REAL.clone(), _draws(), loss.weight(number))[0].item() - math.log(2.0) for number in (0, 4))
    assert (first, last) == (pytest.approx(50.0), pytest.approx(0.5))
    assert RelativisticCriticLoss(Linear(1.0, 0.0), 2.0, 1.0, 1).weight(0) == 2.0


def test_lazy_zero_centred_penalties_come_with_the_last_of_k_steps_and_k_times_their_weight() -> None:
    lazy = RelativisticCriticLoss(Linear(3.0, 4.0), 0.5, 1.0, 10, penalty_every=3)
    every = RelativisticCriticLoss(Linear(3.0, 4.0), 0.5, 1.0, 10)
    rows = [lazy(REAL, FAKE, _draws(), lazy.weight(number)) for number in range(6)]
    assert ["real_penalty" in numbers for _, numbers in rows] == [False, False, True] * 2
    expected = sum(every(REAL, FAKE, _draws(), every.weight(number))[0].item() for number in range(6))
    assert sum(loss.item() for loss, _ in rows) == pytest.approx(expected)


def test_a_relativistic_generators_gradient_goes_to_the_fake_alone() -> None:
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    RelativisticGeneratorLoss(Linear(3.0, 4.0))(real, fake).backward()
    assert real.grad is None
    assert fake.grad is not None
    # -sigmoid(D(real) - D(fake)) * (3, 4) / samples
    ahead = torch.tensor([7.0, -2.0, 3.0, 14.0])
    torch.testing.assert_close(fake.grad.flatten(1), -torch.sigmoid(ahead)[:, None] * torch.tensor([3.0, 4.0]) / 4)
