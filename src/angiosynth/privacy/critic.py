"""Whoever holds the critic: the white-box attack of LOGAN (Hayes et al., PETS 2019, section 4.1).

A critic that has learnt its training patches by heart scores them above others. The last critic is taken, not that of the chosen
step: it has seen the training patches most often.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from angiosynth.gan.models import build_gan
from angiosynth.runtime.checkpoint import read_weights
from angiosynth.runtime.precision import device
from angiosynth.settings import GanSettings


def load_critic(folder: Path, model: str, settings: GanSettings, patch_size: int) -> nn.Module:
    """The last critic of `train-gan`.

    Raises:
        InputError: it is missing, damaged, or of other settings.
    """
    critic = build_gan(model, settings, patch_size).critic
    critic.load_state_dict(read_weights(folder / "critic.pt", critic.state_dict()))
    return critic.eval()


@torch.no_grad()
def critic_scores(
    critic: nn.Module, pairs: Callable[[NDArray[np.int64]], Tensor], count: int, batch_size: int, seed: int
) -> NDArray[np.float64]:
    """The critic's score of each pair, (n,).

    DCGAN's critic looks at a whole batch (minibatch discrimination). So pairs go through in batches as large as in training, in a
    random order, and the last batch is filled up: no patient's patches stand among its own alone.

    Args:
        critic: takes (n, 2, x, y), returns (n,).
        pairs: some of the pairs by their numbers, (k, 2, x, y), image and label on the ranges of training.
        count: how many pairs there are.
        batch_size: of the training.
        seed: of the order.
    """
    where = device()
    critic = critic.to(where).eval()
    order = np.random.default_rng(seed).permutation(count)
    filled = np.resize(order, -(-count // batch_size) * batch_size)
    scores = [critic(pairs(rows).to(where)).double().cpu().numpy() for rows in filled.reshape(-1, batch_size)]
    found = np.empty(count)
    found[order] = np.concatenate(scores)[:count]
    return found
