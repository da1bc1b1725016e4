"""Positive controls: leaks made on purpose, which the attacks must detect. If they miss them, a negative result is no evidence.

There are two. Planted copies: part of the set is replaced by training patches with a little noise, as a generator that memorised a few
patches would draw them. Overfitted generator: the project's GAN trained on a few patches of one patient until it has memorised them, for
the attacks that need the generator or its critic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches
from angiosynth.compute.precision import device
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import GeneratorSettings, LatentSpace, PairCritic, Sampler
from angiosynth.generators.registry import family_of
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import NullRecorder

NOISE = 3.0  # deviation in grey levels; without noise, comparing bytes would detect a planted copy, which would test nothing


def noisy_copies(training: ImagePatches, count: int, seed: int) -> tuple[ImagePatches, NDArray[np.int64]]:
    """Copy `count` random training patches (n, x, y) with Gaussian noise of NOISE grey levels.

    Returns:
        The copies (count, x, y) as levels, and their rows (count,) in `training`.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(training), count, replace=count > len(training)))
    noisy = training[rows].astype(np.float32) + rng.normal(0.0, NOISE, (count, *training.shape[1:])).astype(np.float32)
    levels: ImagePatches = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return levels, rows


def few_pairs_of(patches: PatchSet, patient: str, count: int, seed: int) -> PatchSet:
    """Select at most `count` random pairs of one patient, preferring pairs with vessels, for the overfitted generator."""
    of_patient = patches.of_patients([patient])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(of_patient))
    vessel = of_patient.label[of_patient.rows[order]].reshape(len(order), -1).any(axis=1)
    chosen = np.sort(of_patient.rows[np.concatenate([order[vessel], order[~vessel]])[:count]])
    return PatchSet(of_patient.image, of_patient.label, of_patient.patient, chosen, of_patient.meta, of_patient.folder)


def train_overfitted(settings: GeneratorSettings, few: PatchSet, scratch: Path) -> tuple[Sampler, LatentSpace, PairCritic]:
    """Train a generator on a few pairs by the same loop as any other.

    Args:
        settings: the registry's CONTROL, which overfits.
        few: the pairs.
        scratch: folder of its resume files, which are as confidential as the pairs.

    Returns:
        Its sampler, latent space and critic, which the attacks need.
    """

    def never(sampler: Sampler, step: int) -> dict[str, float]:
        raise AssertionError("the last checkpoint is used without a probe")

    family = family_of(settings)
    trained = family.train("overfitted", settings, few, never, Checkpoints(scratch), NullRecorder())
    sampler = family.sampler(settings, few.size, trained.weights, device())
    space, critic = family.latent_space(sampler), family.critic(settings, few.size, trained.audited)
    assert space is not None, "the control's kind has a latent space"
    assert critic is not None, "and a critic"
    return sampler, space, critic
