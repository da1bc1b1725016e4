"""Share of synthetic patches that are nearer to training patients than to as many other people; 0.5 if the set leaks nothing.

If the groups differ in size, the share is averaged over all subsets of the larger group with the size of the smaller one. The average has
a closed form (`_share`), so no subsets are drawn. The p is that of a permutation test over people: without a leak, training patients
and others are exchangeable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb


def nearer_to_training(
    training: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], resamples: int, seed: int
) -> dict[str, float]:
    """Compute the share of synthetic patches that are nearer to training patients than to as many others, and test it.

    Args:
        training: (n, m) distance of each synthetic patch to the nearest patch of each training patient.
        others: (n, k) distance to the nearest patch of each person who was not trained on.
        resamples: number of resamples of people for the interval, and of permutations for p.
        seed: seed of both.

    Returns:
        nearer: the share. nearer_low, nearer_high: its 95% bootstrap interval over people (0..1 if a group has one person). nearer_p:
        one-sided p.
    """
    rng = np.random.default_rng(seed)
    m, k = training.shape[1], others.shape[1]
    people = np.argsort(np.concatenate([training, others], axis=1), axis=1, kind="stable")  # (n, m + k), nearest person first
    is_member = np.arange(m + k) < m
    nearer = _share(is_member[people], m, k)
    permuted = [_share(rng.permutation(is_member)[people], m, k) for _ in range(resamples)]
    p = (1 + sum(share >= nearer - 1e-12 for share in permuted)) / (1 + resamples)
    count = min(m, k)

    def resampled() -> float:
        to_training, to_others = (group[:, rng.choice(group.shape[1], count)].min(axis=1) for group in (training, others))
        return float((to_training < to_others).mean() + 0.5 * (to_training == to_others).mean())

    low, high = np.percentile([resampled() for _ in range(resamples)], (2.5, 97.5)) if count > 1 else (0.0, 1.0)
    return {"nearer": nearer, "nearer_low": min(float(low), nearer), "nearer_high": max(float(high), nearer), "nearer_p": p}


def _share(member: NDArray[np.bool_], m: int, k: int) -> float:
    """Share of patches nearer to members, averaged over all subsets of the larger group with the size of the smaller.

    Let the larger group have N people, of whom i are nearer than the nearest person of the smaller group, which has c people. A random
    subset of c of the N contains none of these i with probability C(N - i, c) / C(N, c).

    Args:
        member: (n, m + k) whether the nearest, second nearest, ... person of each patch is a member.
        m: number of members.
        k: number of others.
    """
    in_larger = member if m >= k else ~member
    nearer = (~in_larger).argmax(axis=1)  # i
    p_none = comb(max(m, k) - nearer, min(m, k)) / comb(max(m, k), min(m, k))
    return float((1.0 - p_none).mean() if m >= k else p_none.mean())
