"""The audit must be able to fail: leaks made on purpose, which its attacks have to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.data.patches import PatchSet
from angiosynth.gan.models import build_gan
from angiosynth.gan.networks import Generator
from angiosynth.gan.synthesis import Sampler
from angiosynth.gan.training import train_gan
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.precision import device
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.settings import GanSettings, WganGpSettings

LATENT, BATCH, RATE = 4, 8, 1.5e-3  # of the control's GAN
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


def overfitted(settings: GanSettings, few: PatchSet, steps: int, seed: int, scratch: Path) -> tuple[GanSettings, Generator, nn.Module]:
    """A WGAN-GP of the project's own trainer and width that has seen a few pairs alone: its settings, generator and critic.

    Made to learn by heart soon: a small latent, no noise, small batches, high and constant learning rates. Its resume files, which hold
    a patient's patches as good as these, go to `scratch`.
    """
    own = WganGpSettings(
        steps=steps,
        latent_size=LATENT,
        batch_size=BATCH,
        critic_iterations=2,
        learning_rate_generator=RATE,
        learning_rate_critic=RATE,
        betas=(0.0, 0.9),
    )
    plain = {
        "noise": False,
        "flip": False,
        "decay": False,
        "ema": 0.9,
        "checkpoint_choice": "last",
        "checkpoint_every": steps,
        "seed": seed,
    }
    short = settings.model_copy(update={"common": settings.common.model_copy(update=plain), "wgan_gp": own})

    def never(sampler: Sampler, step: int) -> dict[str, float]:
        raise AssertionError("the last weights are taken, no probe is asked")

    trained = train_gan("wgan-gp", short, few, never, Checkpoints(scratch), NullRecorder())
    gan = build_gan("wgan-gp", short, few.size)
    gan.generator.load_state_dict(trained.weights)
    gan.critic.load_state_dict(trained.critic)
    return short, gan.generator.eval(), gan.critic.eval()


def drawn(generator: Generator, settings: GanSettings, count: int, seed: int) -> tuple[ImagePatches, LabelPatches]:
    """A set of the control's GAN."""
    return Sampler(generator.to(device()), settings, device()).pairs(count, seed, None)
