"""Attack that needs the critic: the white-box attack of LOGAN (PETS 2019, section 4.1).

A critic is trained to score real patches above synthetic ones. An overfitted critic scores its training patches above other real patches,
so its score is the membership score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.generators.base import PairCritic


def critic_scores(critic: PairCritic, pairs: Callable[[NDArray[np.int64]], Tensor], count: int, seed: int) -> NDArray[np.float64]:
    """Return the critic's score of each pair, (count,).

    Args:
        critic: the critic of the training.
        pairs: function from rows (k,) to encoded pairs (k, 2, x, y), see `critic.encode`.
        count: number of pairs.
        seed: seed of the order.
    """
    # The score may depend on the whole batch (minibatch discrimination). Batches are therefore as large as in training and in random
    # order, so that none consists of one patient's patches; the last batch is filled up with pairs from the first.
    order = np.random.default_rng(seed).permutation(count)
    filled = np.resize(order, -(-count // critic.batch_size) * critic.batch_size)
    scores = [critic.scores(pairs(rows)).double().cpu().numpy() for rows in filled.reshape(-1, critic.batch_size)]
    by_pair = np.empty(count)
    by_pair[order] = np.concatenate(scores)[:count]
    return by_pair
