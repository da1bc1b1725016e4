"""Losses of the GANs: one module for the critic and one for the generator of each GAN.

A critic step is one `forward`, which returns the whole scalar, and one `backward`: under DDP several backward passes would let processes
fall out of step. Real and generated pairs have shape (n, 2, x, y). Random numbers come from the `Draws` argument, so that a resumed
training draws the same numbers. `weight` gives the weight of the penalties at a critic step, counted from 0, or None in steps without
them; `forward` takes it as an argument, because it changes from step to step.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.compute.distributed import local_rows, mean_over_all, world_size
from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.convolution import sharing_weights
from angiosynth.generators.gan.networks import Critic, Discriminator
from angiosynth.generators.gan.second_derivatives import input_gradients_only

Numbers = dict[str, Tensor]
Weight = float | Tensor | None


class WassersteinCriticLoss(nn.Module):
    """Wasserstein critic loss E[D(fake)] - E[D(real)] + weight * penalty (Gulrajani et al. 2017, eq. 3).

    With `penalty_every` k > 1 only every k-th critic step includes the penalty, with k times the weight: lazy regularisation (Karras et al.
    2020, appendix B). The second derivative of the penalty is about half of the arithmetic of a critic step.
    """

    def __init__(self, critic: Critic, penalty_weight: float, penalty: Literal["sample", "batch"], penalty_every: int = 1) -> None:
        super().__init__()
        self.critic, self.penalty, self.penalty_every = critic, penalty, penalty_every
        self.penalty_weight = penalty_weight * penalty_every

    def weight(self, number: int) -> float | None:
        return None if (number + 1) % self.penalty_every else self.penalty_weight

    def forward(self, real: Tensor, fake: Tensor, draws: Draws, weight: Weight) -> tuple[Tensor, Numbers]:
        with sharing_weights(self.critic):
            # These critics have no batch statistics that mix samples, so real and fake share one pass.
            scores = self.critic(torch.cat([real, fake]))
            real_score, fake_score = scores[: len(real)].mean(), scores[len(real) :].mean()
            distance = real_score - fake_score
            if weight is None:
                return -distance, {"critic_distance": distance}
            penalty = gradient_penalty(self.critic, real, fake, draws, self.penalty)
        return weight * penalty - distance, {"critic_distance": distance, "gradient_penalty": penalty}


class WassersteinGeneratorLoss(nn.Module):
    """Wasserstein generator loss -E[D(fake)]."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        del real
        scores: Tensor = self.critic(fake)
        return -scores.mean()


class DcganCriticLoss(nn.Module):
    """Binary cross-entropy with smoothed targets. Some targets exceed 1, hence the form with logits."""

    def __init__(self, critic: Discriminator, real_target: tuple[float, float], fake_target: tuple[float, float]) -> None:
        super().__init__()
        self.critic, self.real_target, self.fake_target = critic, real_target, fake_target

    def weight(self, number: int) -> None:
        del number  # there is no penalty

    def forward(self, real: Tensor, fake: Tensor, draws: Draws, weight: Weight = None) -> tuple[Tensor, Numbers]:
        del weight
        # Batch norm and minibatch discrimination mix samples, so real and fake need separate passes.
        with sharing_weights(self.critic):
            on_real, on_fake = self.critic(real), self.critic(fake)
        loss_real = F.binary_cross_entropy_with_logits(on_real, smooth_targets(on_real, self.real_target, draws))
        loss_fake = F.binary_cross_entropy_with_logits(on_fake, smooth_targets(on_fake, self.fake_target, draws))
        return loss_real + loss_fake, {"critic_distance": on_real.sigmoid().mean() - on_fake.sigmoid().mean()}


class FeatureMatchingLoss(nn.Module):
    """Feature matching: weight * L1 distance of the discriminator's mean features of real and fake (Salimans et al. 2016, section 3.1)."""

    def __init__(self, critic: Discriminator, weight: float) -> None:
        super().__init__()
        self.critic, self.weight = critic, weight

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            real_mean = mean_over_all(self.critic.features(real).mean(dim=0))
        return self.weight * F.l1_loss(mean_over_all(self.critic.features(fake).mean(dim=0)), real_mean)


class RelativisticCriticLoss(nn.Module):
    """Relativistic critic loss E[softplus(D(fake) - D(real))] + gamma / 2 * (R1 + R2) (Huang et al. 2024, sections 2 and 3).

    Each real pair is compared with the generated pair of the same row. R1 and R2 are the mean squared norms of the gradient of D at the
    real and at the generated pairs. gamma decreases log-linearly over the training. With `penalty_every` k > 1 only every k-th critic step
    includes the penalties, with k times their weight, as in `WassersteinCriticLoss`.

    Args:
        critic: must not mix samples.
        gamma: weight of the penalties at the first step.
        fall: ratio of gamma at the first step to gamma at the last.
        steps: number of critic steps of the whole training.
        penalty_every: k.
    """

    def __init__(self, critic: nn.Module, gamma: float, fall: float, steps: int, penalty_every: int = 1) -> None:
        super().__init__()
        self.critic, self.gamma, self.fall, self.steps, self.penalty_every = critic, gamma, fall, steps, penalty_every

    def weight(self, number: int) -> float | None:
        if (number + 1) % self.penalty_every:
            return None
        share = number / max(1, self.steps - 1)
        return self.penalty_every * (self.gamma * math.exp(-share * math.log(self.fall)))

    def forward(self, real: Tensor, fake: Tensor, draws: Draws, weight: Weight) -> tuple[Tensor, Numbers]:
        del draws
        # One pass for both; pixels require gradients only if the penalties need them.
        pairs = torch.cat([real, fake]).detach().requires_grad_(weight is not None)
        scores = self.critic(pairs)
        ahead = scores[: len(real)] - scores[len(real) :]
        loss = F.softplus(-ahead).mean()
        numbers = {"critic_distance": ahead.mean(), "critic_order": ahead.sign().mean()}
        if weight is None:
            return loss, numbers
        # Samples do not mix, so the gradient of the sum of scores holds each sample's gradient. `create_graph` keeps it differentiable.
        with input_gradients_only(self.critic):
            gradient: Tensor = torch.autograd.grad(scores.sum(), pairs, create_graph=True)[0]
        squares = gradient.float().square().sum(dim=(1, 2, 3))
        r1, r2 = squares[: len(real)].mean(), squares[len(real) :].mean()
        numbers |= {"real_penalty": r1, "fake_penalty": r2}
        return loss + weight / 2 * (r1 + r2), numbers


class RelativisticGeneratorLoss(nn.Module):
    """Relativistic generator loss E[softplus(D(real) - D(fake))], row by row."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            on_real = self.critic(real)
        return F.softplus(on_real - self.critic(fake)).mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, draws: Draws, form: Literal["sample", "batch"]) -> Tensor:
    """Compute the mean of (|grad D(x)| - 1)^2 at random points x between real and fake pairs (Gulrajani et al. 2017, eq. 3).

    The optimal Wasserstein critic has gradient norm 1 almost everywhere on straight lines between coupled real and fake samples, so the
    penalty is evaluated at random points of such lines.

    Args:
        critic: must not mix samples.
        real, fake: (n, 2, x, y).
        draws: gives the positions on the lines.
        form: "sample" draws one position and takes one norm per sample, as Gulrajani et al. 2017 define it. "batch" draws one position and
            takes one norm for the whole batch, as the paper's published code does: the joint gradient of all samples is driven to norm 1.

    Returns:
        A scalar, differentiable in the critic's weights.
    """
    # Every process draws the positions of the whole batch and takes those of its rows, so that the random states stay equal.
    shape = (len(real) * world_size() if form == "sample" else 1, 1, 1, 1)
    drawn = draws.uniform(*shape)
    weights = local_rows(drawn) if form == "sample" else drawn
    between = torch.lerp(real.detach(), fake.detach(), weights).requires_grad_(True)
    scores = critic(between).sum()
    # Samples do not mix, so the gradient of the summed scores holds the gradient of each sample. `create_graph` lets the loss differentiate
    # it once more, by the weights.
    with input_gradients_only(critic):
        gradient: Tensor = torch.autograd.grad(scores, between, create_graph=True)[0]
    # In float32, because bfloat16 has too few digits for a norm near 1.
    flat = gradient.float().flatten(1 if form == "sample" else 0)
    norm = torch.linalg.vector_norm(flat, dim=-1)
    # the norm over the batches of all processes: their squares add up
    if form == "batch" and world_size() > 1:
        norm = (world_size() * mean_over_all(norm**2)).sqrt()
    penalty: Tensor = ((norm - 1.0) ** 2).mean()
    return penalty


def smooth_targets(like: Tensor, bounds: tuple[float, float], draws: Draws) -> Tensor:
    """Draw one target for each sample, uniform within `bounds`; shape as `like`."""
    low, high = bounds
    return low + (high - low) * local_rows(draws.uniform(len(like) * world_size()))
