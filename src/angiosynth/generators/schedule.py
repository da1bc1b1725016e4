"""Schedule shared by all families: steps at which a training is probed and sampled, and the decay of the learning rates."""

from __future__ import annotations

import numpy as np

WATCHED, WATCHES = 6, 6  # pairs in each row of the progress figure, and number of rows


def probe_steps(steps: int, probes: int) -> set[int]:
    """Return the steps at which the probe scores the generator: evenly spaced over the second half, including the last step."""
    return {int(step) for step in np.linspace(steps / 2, steps, probes + 1)[1:]} | {steps}


def linear_decay(done: int, steps: int) -> float:
    """Return the factor of the learning rates after `done` steps: 1 in the first half, then linear decay to 0."""
    return min(1.0, 2.0 * (1.0 - done / steps))


def watch_steps(steps: int) -> set[int]:
    """Return the steps at which pairs are kept for the progress figure: doubling up to the last step, since most changes happen early."""
    return {max(1, steps >> halvings) for halvings in range(WATCHES)}
