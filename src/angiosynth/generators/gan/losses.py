"""The losses of the GANs: for each GAN one module for the critic and one for the generator.

A critic step is one `forward` that returns the whole scalar and then one `backward`. Real pairs and generated ones are
(n, 2, x, y). Random numbers come from the `torch.Generator` argument, so that a resumed training draws the same ones.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.compute.distributed import local_rows, mean_over_all, world_size
from angiosynth.generators.gan.convolution import sharing_weights
from angiosynth.generators.gan.networks import Critic, Discriminator
from angiosynth.generators.gan.second_derivatives import input_gradients_only

Numbers = dict[str, Tensor]


class WassersteinCriticLoss(nn.Module):
    """E[D(fake)] - E[D(real)] + weight * penalty (Gulrajani et al. 2017, eq. 3).

    With `penalty_every` k > 1 only the last of k critic steps has the penalty, with k times its weight: lazy regularisation
    (Karras et al. 2020, appendix B). The penalty's second derivative is about half of a critic step's arithmetic.
    """

    def __init__(self, critic: Critic, penalty_weight: float, penalty: Literal["sample", "batch"], penalty_every: int = 1) -> None:
        super().__init__()
        self.critic, self.penalty, self.penalty_every = critic, penalty, penalty_every
        self.penalty_weight = penalty_weight * penalty_every

    def forward(self, real: Tensor, fake: Tensor, random: torch.Generator, number: int = 0) -> tuple[Tensor, Numbers]:
        with sharing_weights(self.critic):
            # Nothing in these critics mixes samples, so real and fake go through in one pass.
            scores = self.critic(torch.cat([real, fake]))
            real_score, fake_score = scores[: len(real)].mean(), scores[len(real) :].mean()
            distance = real_score - fake_score
            if (number + 1) % self.penalty_every:
                return -distance, {"critic_distance": distance}
            penalty = gradient_penalty(self.critic, real, fake, random, self.penalty)
        return self.penalty_weight * penalty - distance, {"critic_distance": distance, "gradient_penalty": penalty}


class WassersteinGeneratorLoss(nn.Module):
    """-E[D(fake)]."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        del real
        scores: Tensor = self.critic(fake)
        return -scores.mean()


class DcganCriticLoss(nn.Module):
    """Binary cross-entropy with smoothed targets; some lie above 1, hence the logits form."""

    def __init__(self, critic: Discriminator, real_target: tuple[float, float], fake_target: tuple[float, float]) -> None:
        super().__init__()
        self.critic, self.real_target, self.fake_target = critic, real_target, fake_target

    def forward(self, real: Tensor, fake: Tensor, random: torch.Generator, number: int = 0) -> tuple[Tensor, Numbers]:
        del number
        # Batch norm and minibatch discrimination mix samples: real and fake stay apart.
        with sharing_weights(self.critic):
            on_real, on_fake = self.critic(real), self.critic(fake)
        loss_real = F.binary_cross_entropy_with_logits(on_real, smooth_targets(on_real, self.real_target, random))
        loss_fake = F.binary_cross_entropy_with_logits(on_fake, smooth_targets(on_fake, self.fake_target, random))
        return loss_real + loss_fake, {"critic_distance": on_real.sigmoid().mean() - on_fake.sigmoid().mean()}


class FeatureMatchingLoss(nn.Module):
    """weight * L1 distance of the discriminator's mean features for real and fake (Salimans et al. 2016, section 3.1)."""

    def __init__(self, critic: Discriminator, weight: float) -> None:
        super().__init__()
        self.critic, self.weight = critic, weight

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            real_mean = mean_over_all(self.critic.features(real).mean(dim=0))
        return self.weight * F.l1_loss(mean_over_all(self.critic.features(fake).mean(dim=0)), real_mean)


class RelativisticCriticLoss(nn.Module):
    """E[softplus(D(fake) - D(real))] + gamma / 2 * (R1 + R2) (Huang et al. 2024, sections 2 and 3).

    A real and a generated pair are compared row by row. R1 and R2 are the mean squared norms of D's gradient at the real and at the
    generated pairs. gamma falls log-linearly over the training. With `penalty_every` k > 1 the penalties come with the last of k critic
    steps, with k times their weight, as in `WassersteinCriticLoss`.

    Args:
        critic: must not mix samples.
        gamma: at the first step.
        fall: gamma at the first step over gamma at the last.
        steps: critic steps of the whole training.
        penalty_every: k.
    """

    def __init__(self, critic: nn.Module, gamma: float, fall: float, steps: int, penalty_every: int = 1) -> None:
        super().__init__()
        self.critic, self.gamma, self.fall, self.steps, self.penalty_every = critic, gamma, fall, steps, penalty_every

    def weight(self, number: int) -> float:
        """gamma at a critic step, counted from 0."""
        share = number / max(1, self.steps - 1)
        return self.gamma * math.exp(-share * math.log(self.fall))

    def forward(self, real: Tensor, fake: Tensor, random: torch.Generator, number: int = 0) -> tuple[Tensor, Numbers]:
        del random
        penalised = (number + 1) % self.penalty_every == 0
        pairs = torch.cat([real, fake]).detach().requires_grad_(penalised)
        scores = self.critic(pairs)
        ahead = scores[: len(real)] - scores[len(real) :]
        loss = F.softplus(-ahead).mean()
        numbers = {"critic_distance": ahead.mean(), "critic_order": ahead.sign().mean()}
        if not penalised:
            return loss, numbers
        with input_gradients_only(self.critic):
            gradient: Tensor = torch.autograd.grad(scores.sum(), pairs, create_graph=True)[0]
        squares = gradient.float().square().sum(dim=(1, 2, 3))
        r1, r2 = squares[: len(real)].mean(), squares[len(real) :].mean()
        numbers |= {"real_penalty": r1, "fake_penalty": r2}
        return loss + self.penalty_every * self.weight(number) / 2 * (r1 + r2), numbers


class RelativisticGeneratorLoss(nn.Module):
    """E[softplus(D(real) - D(fake))], row by row."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            on_real = self.critic(real)
        return F.softplus(on_real - self.critic(fake)).mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator, form: Literal["sample", "batch"]) -> Tensor:
    """(|grad D(x)| - 1)^2 at random points between real and fake pairs.

    `sample`: one weight and one norm a sample, as Gulrajani et al. 2017 state it. `batch`: one weight and one norm over the
    whole batch, as in the paper's published code: the joint gradient of all samples is driven to norm 1.
    """
    shape = (len(real) * world_size() if form == "sample" else 1, 1, 1, 1)
    drawn = torch.rand(shape, generator=random)
    weights = (local_rows(drawn) if form == "sample" else drawn).to(real.device)
    between = torch.lerp(real.detach(), fake.detach(), weights).requires_grad_(True)
    scores = critic(between).sum()
    with input_gradients_only(critic):
        gradient: Tensor = torch.autograd.grad(scores, between, create_graph=True)[0]
    # In float32: bfloat16 has too few digits for a norm near 1.
    flat = gradient.float().flatten(1 if form == "sample" else 0)
    norm = torch.linalg.vector_norm(flat, dim=-1)
    if form == "batch" and world_size() > 1:
        norm = (world_size() * mean_over_all(norm**2)).sqrt()
    penalty: Tensor = ((norm - 1.0) ** 2).mean()
    return penalty


def smooth_targets(like: Tensor, bounds: tuple[float, float], random: torch.Generator) -> Tensor:
    """One target a sample, uniform within `bounds`."""
    low, high = bounds
    return (low + (high - low) * local_rows(torch.rand(len(like) * world_size(), generator=random))).to(like.device)
