"""How often pairs are augmented: never, with a fixed probability, or as often as the critic's overfitting asks for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from angiosynth.compute.distributed import mean_over_all
from angiosynth.generators.gan.augmentation import augment


class Augmentation(nn.Module):
    """Augments pairs on their way to the critic. Adaptive discriminator augmentation of Karras et al. 2020, section 3.

    Args:
        mode: "off", "fixed", or "adaptive": the probability begins at 0 and rises while the critic orders pairs of a real and a
            generated sample too well, else it falls.
        probability: the fixed one.
        target: mean sign of D(real) - D(fake) that an adaptive probability aims at. Karras et al. take the sign of D(real), with 0.6;
            a relativistic critic's score has no zero, only differences.
        pairs: number of real pairs in which an adaptive probability can rise from 0 to 1.
    """

    probability: Tensor

    def __init__(self, mode: Literal["off", "fixed", "adaptive"], probability: float, target: float, pairs: int) -> None:
        super().__init__()
        self.mode, self.target, self.pairs = mode, target, pairs
        self.register_buffer("probability", torch.tensor(probability if mode == "fixed" else 0.0))

    def forward(self, pairs: Tensor, random: torch.Generator) -> Tensor:
        """Pairs (n, 2, x, y) to the same shape; nothing is drawn where augmentation is off."""
        return pairs if self.mode == "off" else augment(pairs, self.probability, random)

    @torch.no_grad()
    def adapt(self, order: Tensor, count: int) -> dict[str, Tensor]:
        """Change an adaptive probability after a critic step.

        Args:
            order: mean sign of D(real) - D(fake) over this process's rows.
            count: real pairs of the step, over all processes.

        Returns:
            The new probability by name, for the curves; nothing where it does not change.
        """
        if self.mode != "adaptive":
            return {}
        direction = torch.sign(mean_over_all(order) - self.target)
        self.probability.add_(direction * (count / self.pairs)).clamp_(0.0, 1.0)
        return {"augmentation_probability": self.probability.clone()}
