"""The losses of the U-net."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Loss = Literal["dice", "dice_cross_entropy"]


def segmentation_loss(logits: Tensor, label: Tensor, form: Loss) -> Tensor:
    """Dice loss alone, or with the mean cross-entropy of the pixels added (Isensee et al. 2021).

    Where the prediction is empty the Dice loss has almost no gradient, but the cross-entropy has.

    Args:
        logits: (n, 1, x, y).
        label: (n, 1, x, y), 0 or 1.
        form: the loss.
    """
    dice = dice_loss(logits, label)
    return dice if form == "dice" else dice + F.binary_cross_entropy_with_logits(logits.float(), label)


def dice_loss(logits: Tensor, label: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - (2 |p y| + smooth) / (|p| + |y| + smooth) over the whole batch (Livne et al. 2019).

    Args:
        logits: (n, 1, x, y).
        label: (n, 1, x, y), 0 or 1.
        smooth: keeps the quotient defined where there is no vessel.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * label).sum()
    return 1.0 - (2.0 * overlap + smooth) / (probability.sum() + label.sum() + smooth)
