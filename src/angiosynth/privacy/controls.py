"""The audit must be able to fail: leaks made on purpose, which its attacks have to find."""

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

NOISE = 3.0  # grey levels that a planted copy is off by: one that was not hidden from bytewise comparison would be found by it


def planted(training: ImagePatches, count: int, seed: int) -> tuple[ImagePatches, NDArray[np.int64]]:
    """`count` training patches with a little noise, and which they are: what stands in for as many synthetic ones."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(training), count, replace=count > len(training)))
    noisy = training[rows].astype(np.float32) + rng.normal(0.0, NOISE, (count, *training.shape[1:])).astype(np.float32)
    levels: ImagePatches = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return levels, rows


def few_of(patches: PatchSet, patient: str, count: int, seed: int) -> PatchSet:
    """A few pairs of one patient, those with vessels first: what the control's GAN learns by heart."""
    own = patches.of_patients([patient])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(own))
    vessel = own.label[own.rows[order]].reshape(len(order), -1).any(axis=1)
    chosen = np.concatenate([order[vessel], order[~vessel]])[:count]
    return PatchSet(own.image, own.label, own.patient, np.sort(own.rows[chosen]), own.meta, own.folder)


def overfitted(settings: GeneratorSettings, few: PatchSet, scratch: Path) -> tuple[Sampler, LatentSpace, PairCritic]:
    """A generator trained by the project's own loop on a few pairs alone, and what the attacks need of it.

    Args:
        settings: the registry's CONTROL, which learns by heart.
        few: the pairs.
        scratch: for its resume files, which hold a patient's patches as good as these.
    """

    def never(sampler: Sampler, step: int) -> dict[str, float]:
        raise AssertionError("the last weights are taken, no probe is asked")

    family = family_of(settings)
    trained = family.train("overfitted", settings, few, never, Checkpoints(scratch), NullRecorder())
    sampler = family.sampler(settings, few.size, trained.weights, device())
    space, critic = family.latent_space(sampler), family.critic(settings, few.size, trained.audited)
    assert space is not None, "the control's kind has a latent space"
    assert critic is not None, "and a critic"
    return sampler, space, critic
