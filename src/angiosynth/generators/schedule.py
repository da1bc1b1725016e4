"""When a training looks, and how its learning rates fall: the same for every family."""

from __future__ import annotations

import numpy as np

WATCHED, WATCHES = 6, 6  # pairs that are kept to be looked at, and how often


def probe_steps(steps: int, probes: int) -> set[int]:
    """When the probe looks: evenly over the second half, the last step always."""
    return {int(step) for step in np.linspace(steps / 2, steps, probes + 1)[1:]} | {steps}


def rate_share(done: int, steps: int) -> float:
    """Share of the learning rates after `done` of the steps: whole in the first half, then down a line to nothing."""
    return min(1.0, 2.0 * (1.0 - done / steps))


def watch_steps(steps: int) -> set[int]:
    """When pairs are kept to be looked at: twice as far each time, up to the last step, for most happens early."""
    return {max(1, steps >> halvings) for halvings in range(WATCHES)}
