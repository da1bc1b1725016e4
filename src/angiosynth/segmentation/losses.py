"""The loss of the U-net."""

from __future__ import annotations

from torch import Tensor


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
