"""Probability of augmentation: zero, fixed, or controlled by the overfitting of the critic."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from angiosynth.compute.distributed import mean_over_all
from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.augmentation import augment


class Augmentation(nn.Module):
    """Augment pairs before the critic scores them. Adaptive discriminator augmentation of Karras et al. 2020, section 3.

    Args:
        mode: "off", "fixed", or "adaptive". An adaptive probability starts at 0. It rises while the critic separates real from generated
            samples better than `target`, and falls otherwise.
        probability: the fixed probability.
        target: target value of the mean sign of D(real) - D(fake). Karras et al. use the mean sign of D(real), with target 0.6; the zero of
            a relativistic critic's score is arbitrary, so only differences have a meaning.
        pairs: number of real pairs over which an adaptive probability can rise from 0 to 1.
    """

    probability: Tensor

    def __init__(self, mode: Literal["off", "fixed", "adaptive"], probability: float, target: float, pairs: int) -> None:
        super().__init__()
        self.mode, self.target, self.pairs = mode, target, pairs
        self.register_buffer("probability", torch.tensor(probability if mode == "fixed" else 0.0))

    def forward(self, pairs: Tensor, draws: Draws) -> Tensor:
        """Augment pairs (n, 2, x, y); the shape stays. If the mode is "off" no random numbers are drawn."""
        return pairs if self.mode == "off" else augment(pairs, self.probability, draws)

    @torch.no_grad()
    def adapt(self, order: Tensor, count: int) -> dict[str, Tensor]:
        """Update an adaptive probability after a critic step.

        Args:
            order: mean sign of D(real) - D(fake) over this process's rows.
            count: number of real pairs of the step, over all processes.

        Returns:
            The new probability by name, for the curves; empty unless the mode is "adaptive".
        """
        if self.mode != "adaptive":
            return {}
        # One step up or down; the probability moves by 1 over `pairs` real pairs with the same sign.
        direction = torch.sign(mean_over_all(order) - self.target)
        self.probability.add_(direction * (count / self.pairs)).clamp_(0.0, 1.0)
        return {"augmentation_probability": self.probability.clone()}
