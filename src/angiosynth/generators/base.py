"""The description of a kind of generator, and the interface through which the rest of the program uses it.

Nothing here is specific to one family. `registry.py` lists the kinds; a family's folder holds its networks, its training loop and
`family.py`, a module with the functions of `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from angiosynth.sections import Batch, Positive, Section, Seed, Text, Width

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from angiosynth.arrays import ImagePatches, LabelPatches
    from angiosynth.data.patches import PatchSet
    from angiosynth.runtime.checkpoint import Checkpoints
    from angiosynth.runtime.recorder import Recorder
    from angiosynth.runtime.rehearsal import Need, Rehearsal

CHUNK = 256  # pairs that a sampler yields at a time
PROMISE = "promise"  # key of generator.json and card.json: what is promised to patients with proof
Scale = Literal["whole", "log", "linear", "choice"]


class GeneratorSettings(Section):
    """Settings of every kind: an entry of `generators` in params.yaml, with the values of `generator_defaults` filled in."""

    kind: Text
    steps: Positive  # of the generator
    batch_size: Batch = 32
    width: Width
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_choice: Literal["probe_dsc", "last"] = "probe_dsc"
    probes: Positive = 3  # number of probes, evenly over the training's second half
    checkpoint_every: Positive = 200  # steps between two resume files
    seed: Seed = 1


@dataclass(frozen=True)
class Searched:
    """How a sweep searches one setting.

    `scale`: "whole" numbers, "log" or "linear" between two ends, or one "choice" of several. `values`: the ends or choices where
    `sweep.ranges` names none. `key`, `end`: the setting and its place in it, where one end of a pair is searched.
    """

    scale: Scale
    values: tuple[Any, ...]
    key: str = ""
    end: int | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of generator.

    `name`: the value of `kind` in params.yaml. `title`: as figures and pages write it. `family`: the module with the functions of
    `Family`, imported when it is first needed, since it brings torch. `trains_network`: False for a simulator, whose `steps` a sweep
    leaves as they are and which is no program that MLflow could keep. `unsearched`: why no sweep may search it, "" where one may.
    `undefaulted`: settings that `generator_defaults` does not fill in. `drawn_with`: settings on which the shapes of the weights and the
    drawing of pairs depend, the only ones that leave with a generator.
    """

    name: str
    title: str
    settings: type[GeneratorSettings]
    family: str
    search: Mapping[str, Searched] = field(default_factory=dict)
    trains_network: bool = True
    unsearched: str = ""
    undefaulted: frozenset[str] = frozenset()
    drawn_with: tuple[str, ...] = ()


class Sampler(Protocol):
    """Draws pairs from a trained generator: image as levels 0..255, label as 0 or 1."""

    @property
    def network(self) -> nn.Module:
        """The generator in inference mode."""
        ...

    def example(self) -> NDArray[np.float32]:
        """An input of `network` for two pairs, by which MLflow learns its shapes."""
        ...

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """`count` pairs, (n, x, y) each, the same for a seed and weights; `threshold` cuts the label, None for the kind's default."""
        ...

    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """The same pairs a few hundred at a time."""
        ...


class LatentSpace(Protocol):
    """A generator that maps a vector to a pair and has gradients: the interface that a reconstruction attack needs."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    def draw(self, vectors: Tensor) -> Tensor:
        """Pairs (n, 2, x, y) of vectors (n, size), on the ranges of `encode`."""
        ...

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        """Real images in [-1, 1] and labels 0 or 1, (n, x, y) each, on the generator's ranges: (n, 2, x, y)."""
        ...


class PairCritic(Protocol):
    """A network of the training that scores pairs: the interface that an attack by its score needs."""

    @property
    def batch_size(self) -> int:
        """Pairs of a training batch; a score may depend on the batch."""
        ...

    def scores(self, pairs: Tensor) -> Tensor:
        """Scores (n,) of pairs (n, 2, x, y)."""
        ...

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        """As in `LatentSpace`."""
        ...


# Scores a generator by its use for a U-net: (sampler, step) -> {"probe_dsc": ..., ...} on validation patients.
Probe = Callable[[Sampler, int], dict[str, float]]


@dataclass(frozen=True)
class TrainedGenerator:
    """The chosen generator: its weights, their step, its scores, the curve of the training, and pairs drawn during it.

    `audited`: file name without ending -> weights that only the audit reads, such as a critic's. `watched`: step -> (image, label),
    each (n, x, y) uint8, of the same random numbers each time. `promise`: what is promised to patients with proof and to whom, plain values
    for card, page and run; empty for kinds that promise nothing.
    """

    weights: dict[str, Tensor]
    audited: dict[str, dict[str, Tensor]]
    step: int
    scores: dict[str, float]
    curve: list[dict[str, float]]
    watched: dict[int, tuple[Tensor, Tensor]]
    promise: dict[str, Any] = field(default_factory=dict)


class Family(Protocol):
    """The functions of a family's module `family.py`."""

    def train(
        self, name: str, settings: Any, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
    ) -> TrainedGenerator:
        """Train on the patches of training patients and choose a generator.

        Args:
            name: of the generator, for progress and errors.
            settings: its entry in params.yaml.
            patches: pairs of training patients only.
            probe: scores a generator on validation patients; called `probes` times where its scores choose the generator.
            checkpoints: keeps resume files and the weights of every probed generator; a valid resume file in it is continued.
            recorder: takes the curves.

        Raises:
            InputError: a loss stopped being finite; the text names the step.
        """
        ...

    def blank(self, settings: Any, patch_size: int) -> Mapping[str, Mapping[str, Tensor]]:
        """Fresh weights of the network in each file of a trained generator: "generator", and those of `TrainedGenerator.audited`."""
        ...

    def sampler(self, settings: Any, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> Sampler:
        """The generator with these weights, ready to draw. Raises RuntimeError where they do not fit."""
        ...

    def latent_space(self, sampler: Sampler) -> LatentSpace | None:
        """The latent space for an attacker who holds the generator, or None where the kind has none."""
        ...

    def critic(self, settings: Any, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> PairCritic | None:
        """The network that scores pairs, from `TrainedGenerator.audited`, or None. RuntimeError or KeyError where weights do not fit."""
        ...

    def blank_training(self, settings: Any, patch_size: int) -> Callable[[], object]:
        """A training on patches without content: each call is one step of the generator, with all that belongs to it. For measurements."""
        ...

    def rehearse(self, settings: Any, patch_size: int, counted: Rehearsal) -> Need:
        """Bytes that a training takes, measured by one step on fake tensors."""
        ...
