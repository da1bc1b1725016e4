"""The private phantom behind the registry's interface; `Family` documents the functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import CHUNK, Sampler
from angiosynth.generators.private_evolution.evolution import Evolution, evolve
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.simulator import KEPT_VOXELS, MOST_KEPT, Simulator, SimulatorSampler, loaded
from angiosynth.runtime.rehearsal import Need, Rehearsal

VOLUMES = 18  # of four bytes a voxel while a head is drawn and scanned: the process grew by 236 MB on a grid of 2.75 million voxels
KEPT_BYTES = 13  # a voxel of a head that is kept

train = evolve


def blank(settings: PrivatePhantomSettings, patch_size: int) -> dict[str, dict[str, Tensor]]:
    return {"generator": Simulator(settings, patch_size).state_dict()}


def sampler(settings: PrivatePhantomSettings, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> SimulatorSampler:
    del device  # the phantom is drawn by numpy
    return SimulatorSampler(loaded(settings, patch_size, weights))


def latent_space(sampler: Sampler) -> None:
    """A head is grown from random numbers, step by step: there is no vector with gradients behind it."""


def critic(settings: PrivatePhantomSettings, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Nothing scored pairs."""


def blank_training(settings: PrivatePhantomSettings, patch_size: int) -> Callable[[], object]:
    blank = np.zeros((1, patch_size, patch_size), np.uint8)
    patches = PatchSet(blank, blank, np.array(["sub-01"]), np.arange(1), {}, Path())
    # noise is drawn as ever; a round of one patient without content takes as long as any
    return Evolution(settings, patches).train_step


def rehearse(settings: PrivatePhantomSettings, patch_size: int, counted: Rehearsal) -> Need:
    del counted  # numpy's arrays, whose sizes follow from the grid
    voxels = int(np.prod(settings.shape))
    lasting = KEPT_BYTES * max(voxels, min(KEPT_VOXELS, MOST_KEPT * voxels))
    return Need(VOLUMES * 4 * voxels + lasting + 4 * CHUNK * patch_size**2 * 4, lasting)
