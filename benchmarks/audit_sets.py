"""Sets for benchmarks/audit_errors.py of which it is known whether they leak: patches of strangers, with copies or without, and GANs'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.compute.precision import device
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import GeneratorSettings, LatentSpace, PairCritic
from angiosynth.generators.gan.kinds import WganGpSettings
from angiosynth.generators.registry import CONTROL, family_of
from angiosynth.privacy.alignment import rotate_and_shift
from angiosynth.privacy.controls import few_pairs_of
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.labelling import PatchLabeller
from benchmarks.audit_people import People, as_patches, seed_of
from benchmarks.models import relabelled

PAIRS = 3000  # of a set
NOISE = 4.0  # grey levels, of noisy copies
DEGREES, PIXELS = 9.0, 1  # at most, of turned copies
NODES, MOVED = 4, 1.5 / 32  # along a side, and deviation of their moves in sides of a patch, of deformed copies
CONTRAST, MORE_NOISE = 0.35, 6.0  # of altered copies: nats at most, grey levels
SHAPE = {"width": 8, "precision": "float32"}  # of all GANs
STEPS, LONG = 300, 900
LEARNT = 8  # pairs of one patient that a GAN is overfitted to
FEW, FEW_PAIRS = 3, 20  # patients of the GAN that is trained as usual for long, and pairs of each, which it does not learn by heart
LEARNT_OF_EACH = 4  # pairs of each of as many patients that another is overfitted to for long


@dataclass(frozen=True)
class Cohort:
    """The people of one audit, by numbers: trained on, not trained on (test, validation, held out), and in no part of the split."""

    training: list[int]
    test: list[int]
    validation: list[int]
    strangers: list[int]
    held_out: list[int]


@dataclass(frozen=True)
class Audited:
    """A set and, where a GAN drew it, what can be attacked of it."""

    pairs: PatchSet
    latent_space: LatentSpace | None = None
    critic: PairCritic | None = None
    drawn_label: LabelPatches | None = None  # of the generator, where U-nets labelled its set


def labelled_anew(audited: Audited, labeller: PatchLabeller) -> Audited:
    """Return a generator's set with labels of U-nets; the generator's own are kept beside it."""
    return replace(audited, pairs=relabelled(audited.pairs, labeller), drawn_label=np.asarray(audited.pairs.label))


def draw_cohort(people: People, sizes: tuple[int, ...], seed: int) -> Cohort:
    """Split the people at random into so many training, test and validation patients and, as a fourth, people held out.

    The rest are strangers.
    """
    order = np.random.default_rng(seed_of("cohort", *sizes, seed)).permutation(people.numbers()).tolist()
    ends = np.cumsum(sizes)
    training, test, validation, *held_out = (order[end - size : end] for end, size in zip(ends, sizes, strict=True))
    return Cohort(training, test, validation, order[ends[-1] :], held_out[0] if held_out else [])


@dataclass(frozen=True)
class SetMaker:
    """Makes the sets of one cohort; the same for the same seed. `scratch` is for resume files of GANs."""

    people: People
    cohort: Cohort
    seed: int
    scratch: Path

    def strangers(self) -> Audited:
        """Real patches of people who are in no part of the split: harmless."""
        return Audited(as_patches(*self._pairs_of_strangers(), self.scratch))

    def copies(self, kind: str, share: float) -> Audited:
        """Patches of strangers of which a share was replaced by copies of training patches, spoiled by one of SPOILERS or DISTORTERS."""
        image, label = self._pairs_of_strangers()
        training = self.people.patches_of(self.cohort.training, self.scratch)
        count, rng = round(share * len(image)), np.random.default_rng(seed_of("copies", kind, share, self.seed))
        rows = rng.choice(len(training), count, replace=False)
        image[:count], label[:count] = {**SPOILERS, **DISTORTERS}[kind](training.image[rows], training.label[rows], rng)
        return Audited(as_patches(image, label, self.scratch))

    def gan(self, kind: str) -> Audited:
        """Pairs of a GAN that was trained on strangers (harmless), overfitted to one training patient or to a few, or trained on a few."""
        seed = seed_of("gan", kind, self.seed) % 1000
        if kind == "strangers":
            return self._drawn(_settings(STEPS, seed), self.people.patches_of(self.cohort.strangers, self.scratch))
        count, pairs, settings = {
            "one": (1, LEARNT, CONTROL(SHAPE, STEPS, seed)),
            "three": (FEW, LEARNT_OF_EACH, CONTROL(SHAPE, LONG, seed)),
            "few": (FEW, FEW_PAIRS, _settings(LONG, seed)),
        }[kind]
        training = self.people.patches_of(self.cohort.training, self.scratch)
        of_each = [few_pairs_of(training, name, pairs, seed) for name in np.unique(training.patient)[:count]]
        return self._drawn(settings, replace(of_each[0], rows=np.concatenate([one.rows for one in of_each])))

    def _pairs_of_strangers(self) -> tuple[ImagePatches, LabelPatches]:
        patches = self.people.patches_of(self.cohort.strangers, self.scratch)
        rows = np.random.default_rng(seed_of("strangers", self.seed)).choice(len(patches), PAIRS, replace=False)
        return patches.image[rows], patches.label[rows]

    def _drawn(self, settings: GeneratorSettings, patches: PatchSet) -> Audited:
        family = family_of(settings)
        trained = family.train("gan", settings, patches, lambda *_: {}, Checkpoints(self.scratch), NullRecorder())
        sampler = family.sampler(settings, patches.size, trained.weights, device())
        pairs = as_patches(*sampler.pairs(PAIRS, self.seed), self.scratch)
        return Audited(pairs, family.latent_space(sampler), family.critic(settings, patches.size, trained.audited))


def _settings(steps: int, seed: int) -> WganGpSettings:
    """The demo's WGAN-GP, narrower and shorter, its last weights taken."""
    rates = {"learning_rate_generator": 5e-4, "learning_rate_critic": 5e-4, "betas": (0.0, 0.9)}
    return WganGpSettings(
        **SHAPE, **rates, steps=steps, batch_size=32, critic_iterations=2, checkpoint_choice="last", checkpoint_every=steps, seed=seed
    )


Spoiler = Callable[[ImagePatches, LabelPatches, np.random.Generator], tuple[ImagePatches, LabelPatches]]


def _as_they_lie(image: ImagePatches, label: LabelPatches, rng: np.random.Generator) -> tuple[ImagePatches, LabelPatches]:
    return image, label


def _noisy(image: ImagePatches, label: LabelPatches, rng: np.random.Generator) -> tuple[ImagePatches, LabelPatches]:
    return np.clip(np.rint(image + rng.normal(0.0, NOISE, image.shape)), 0, 255).astype(np.uint8), label


def _turned(image: ImagePatches, label: LabelPatches, rng: np.random.Generator) -> tuple[ImagePatches, LabelPatches]:
    """Every second pair mirrored, each turned by up to DEGREES and moved by up to PIXELS along both axes."""
    turned: list[list[np.ndarray]] = [[], []]
    for number in range(len(image)):
        degrees, (x, y) = rng.uniform(-DEGREES, DEGREES), rng.integers(-PIXELS, PIXELS + 1, 2)
        for kept, array in zip(turned, (image[number], 255 * label[number]), strict=True):
            pose = torch.from_numpy(np.ascontiguousarray(array[::-1] if number % 2 else array).astype(np.float32))[None]
            kept.append(rotate_and_shift(pose, degrees, float(x), float(y))[0].numpy())
    return np.rint(turned[0]).clip(0, 255).astype(np.uint8), (np.array(turned[1]) > 127).astype(np.uint8)


SPOILERS: dict[str, Spoiler] = {"as-they-lie": _as_they_lie, "noisy": _noisy, "turned": _turned}


def _deformed(image: ImagePatches, label: LabelPatches, rng: np.random.Generator) -> tuple[ImagePatches, LabelPatches]:
    """Each pair deformed smoothly: a few nodes are moved at random, cubic splines lie between them."""
    side = image.shape[1]
    deformed: list[list[np.ndarray]] = [[], []]
    for pair in zip(image, 255 * label, strict=True):
        moves = [ndimage.zoom(rng.normal(0.0, MOVED * side, (NODES, NODES)), side / NODES, order=3) for _ in range(2)]
        places = np.mgrid[:side, :side] + np.stack(moves)
        for kept, array in zip(deformed, pair, strict=True):
            kept.append(ndimage.map_coordinates(array.astype(np.float32), places, order=1, mode="nearest"))
    return np.rint(deformed[0]).clip(0, 255).astype(np.uint8), (np.array(deformed[1]) > 127).astype(np.uint8)


def _altered(image: ImagePatches, label: LabelPatches, rng: np.random.Generator) -> tuple[ImagePatches, LabelPatches]:
    """Turned, deformed, of other contrast and noisy."""
    image, label = _deformed(*_turned(image, label, rng), rng)
    mean = image.mean(axis=(1, 2), keepdims=True)
    contrast = np.exp(rng.uniform(-CONTRAST, CONTRAST, (len(image), 1, 1)))
    changed = (image - mean) * contrast + mean + rng.normal(0.0, MORE_NOISE, image.shape)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8), label


# Copies that no search by poses recognises; for the learnt detector.
DISTORTERS: dict[str, Spoiler] = {"deformed": _deformed, "altered": _altered}
