"""Attack of whoever holds the critic: the white-box attack of LOGAN (PETS 2019, section 4.1).

A critic is trained to score real patches above drawn ones. One that has learnt its training patches by heart scores these above
other real patches, so its score itself tells who was trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.generators.base import PairCritic


def critic_scores(critic: PairCritic, pairs: Callable[[NDArray[np.int64]], Tensor], count: int, seed: int) -> NDArray[np.float64]:
    """The critic's score of each pair, (count,).

    Args:
        critic: of the training.
        pairs: gives the pairs of some rows, (k, 2, x, y), as `critic.encode` makes them.
        count: how many pairs there are.
        seed: of the order.
    """
    # A critic may look at a whole batch (minibatch discrimination). So pairs go through in batches as large as in training, in random
    # order so that no patient's patches fill a batch alone, and the last batch is filled up with pairs from the start.
    order = np.random.default_rng(seed).permutation(count)
    filled = np.resize(order, -(-count // critic.batch_size) * critic.batch_size)
    scores = [critic.scores(pairs(rows)).double().cpu().numpy() for rows in filled.reshape(-1, critic.batch_size)]
    by_pair = np.empty(count)
    by_pair[order] = np.concatenate(scores)[:count]
    return by_pair
