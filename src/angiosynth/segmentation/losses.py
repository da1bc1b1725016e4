"""Losses of the U-net."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Loss = Literal["dice", "dice_cross_entropy"]


def segmentation_loss(logits: Tensor, label: Tensor, form: Loss) -> Tensor:
    """Dice loss, or the sum of Dice loss and mean cross-entropy over the pixels (Isensee et al. 2021).

    If the prediction is empty the Dice loss has almost no gradient, but the cross-entropy does.

    Args:
        logits: (n, 1, x, y).
        label: (n, 1, x, y), 0 or 1.
        form: "dice" or "dice_cross_entropy".

    Returns:
        A scalar.
    """
    dice = dice_loss(logits, label)
    return dice if form == "dice" else dice + F.binary_cross_entropy_with_logits(logits.float(), label)


def dice_loss(logits: Tensor, label: Tensor, smooth: float = 1.0) -> Tensor:
    """Dice loss 1 - (2 |p y| + smooth) / (|p| + |y| + smooth) over the whole batch (Livne et al. 2019).

    Args:
        logits: (n, 1, x, y).
        label: (n, 1, x, y), 0 or 1.
        smooth: keeps the quotient defined for batches without vessels.

    Returns:
        A scalar in [0, 1).
    """
    probability = logits.float().sigmoid()
    overlap = (probability * label).sum()
    return 1.0 - (2.0 * overlap + smooth) / (probability.sum() + label.sum() + smooth)
