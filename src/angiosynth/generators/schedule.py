"""The steps at which a training is scored and sampled, and the decay of its learning rates: the same for every family."""

from __future__ import annotations

import numpy as np

WATCHED, WATCHES = 6, 6  # pairs in each row of the strip of progress, and its rows


def probe_steps(steps: int, probes: int) -> set[int]:
    """Steps at which the probe scores the generator: evenly over the second half, the last step always."""
    return {int(step) for step in np.linspace(steps / 2, steps, probes + 1)[1:]} | {steps}


def linear_decay(done: int, steps: int) -> float:
    """Factor of the learning rates after `done` of the steps: 1 in the first half, then linear decay to 0."""
    return min(1.0, 2.0 * (1.0 - done / steps))


def watch_steps(steps: int) -> set[int]:
    """Steps at which pairs are kept for the strip of progress: doubling up to the last, since most changes happen early."""
    return {max(1, steps >> halvings) for halvings in range(WATCHES)}
