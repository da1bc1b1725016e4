"""Trials of sweeps for workers: their processes import this module, and so neither MLflow's client nor pytest."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

from angiosynth.generators.gan.kinds import WganGpSnSettings
from angiosynth.search.results import TrialScore
from angiosynth.settings import Settings

MODEL = "wgan-gp-sn"


def generator_of(settings: Settings) -> WganGpSnSettings:
    generator = settings.generator(MODEL)
    assert isinstance(generator, WganGpSnSettings)
    return generator


def analytic(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    """Best at a rate of 3e-4; the distance falls with the critic's iterations, so that the front has several points."""
    assert list(scratch.iterdir()) == []
    (scratch / "generator.pt").write_bytes(b"weights")
    generator = generator_of(settings)
    distance = abs(math.log(generator.learning_rate_generator / 3e-4)) + 0.05 * generator.critic_iterations
    return TrialScore(0.9 / (1 + distance), 20.0 + distance - generator.critic_iterations)


def mortal(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    """Trials 1 and 2 take their worker with them, as the kernel does where memory runs out."""
    if number in (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return analytic(settings, scratch, run_id, number)


def faulty(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
    """Trials 0 and 1 meet a fault that is not theirs."""
    if number in (0, 1):
        raise RuntimeError("the disk is full")
    return analytic(settings, scratch, run_id, number)
