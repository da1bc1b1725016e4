"""Whoever holds the critic: the white-box attack of LOGAN (Hayes et al., PETS 2019, section 4.1).

A critic that has learnt its training patches by heart scores them above others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.generators.base import PairCritic


def critic_scores(critic: PairCritic, pairs: Callable[[NDArray[np.int64]], Tensor], count: int, seed: int) -> NDArray[np.float64]:
    """The critic's score of each pair, (n,).

    A critic may look at a whole batch (minibatch discrimination). So pairs go through in batches as large as in training, in a
    random order, and the last batch is filled up: no patient's patches stand among its own alone.

    Args:
        critic: of the training.
        pairs: some of the pairs by their numbers, (k, 2, x, y), as `critic.encode` makes them.
        count: how many pairs there are.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(count)
    filled = np.resize(order, -(-count // critic.batch_size) * critic.batch_size)
    scores = [critic.scores(pairs(rows)).double().cpu().numpy() for rows in filled.reshape(-1, critic.batch_size)]
    by_pair = np.empty(count)
    by_pair[order] = np.concatenate(scores)[:count]
    return by_pair
