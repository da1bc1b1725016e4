"""Interface between the generators and the rest of the program, and the description of a kind of generator.

Nothing here is specific to one family. `registry.py` lists the kinds. The folder of a family holds its networks, its training step and
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
PROMISE = "promise"  # key of generator.json and card.json: the proven privacy guarantee
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
    """Search space of one setting in a sweep.

    Attributes:
        scale: "whole" numbers, "log" or "linear" between two bounds, or "choice" from a list.
        values: default bounds or choices, used unless `sweep.ranges` in params.yaml gives others.
        key, end: the name of the setting and the index of the searched element, if the setting is a pair of which one element is searched.
    """

    scale: Scale
    values: tuple[Any, ...]
    key: str = ""
    end: int | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of generator.

    Attributes:
        name: value of `kind` in params.yaml.
        title: display name in figures and pages.
        settings: model of its entry in params.yaml.
        family: name of the module with the functions of `Family`. It is imported on first use, because it imports torch.
        search: search space of each setting that a sweep varies.
        votes: True if training patients only vote, which needs no label, so that voters of the split take part.
        trains_network: False for a simulator: a sweep does not scale its `steps`, and MLflow stores no model of it. A simulator knows its
            vessels, so `synthesis.labels` does not apply to it; U-nets of the patients would also break its privacy promise.
        unsearched: the reason why sweeps refuse this kind; "" if they accept it.
        undefaulted: settings that `generator_defaults` does not fill in.
        drawn_with: settings that determine the shapes of the weights and the drawing of pairs. Only these are released with a generator.
    """

    name: str
    title: str
    settings: type[GeneratorSettings]
    family: str
    search: Mapping[str, Searched] = field(default_factory=dict)
    votes: bool = False
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
        """An input of `network` for two pairs, from which MLflow infers the signature."""
        ...

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        """Draw `count` pairs, (n, x, y) each, determined by seed and weights; `threshold` binarises the label, None is the default."""
        ...

    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        """Yield the same pairs in chunks of a few hundred."""
        ...


class LatentSpace(Protocol):
    """A differentiable map from latent vectors to pairs: the interface that a reconstruction attack needs."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    def draw(self, vectors: Tensor) -> Tensor:
        """Generate pairs (n, 2, x, y) from vectors (n, size), in the value range of `encode`."""
        ...

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        """Convert real images in [-1, 1] and labels 0 or 1, (n, x, y) each, to the generator's value range: (n, 2, x, y)."""
        ...


class PairCritic(Protocol):
    """A network from the training that scores pairs: the interface that a score-based membership attack needs."""

    @property
    def batch_size(self) -> int:
        """Number of pairs to score at once. Scores may depend on the batch."""
        ...

    def scores(self, pairs: Tensor) -> Tensor:
        """Scores (n,) of pairs (n, 2, x, y)."""
        ...

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        """As in `LatentSpace`."""
        ...


# Scores a generator by the U-net that its pairs train: (sampler, step) -> {"probe_dsc": ..., ...} on validation patients.
Probe = Callable[[Sampler, int], dict[str, float]]


@dataclass(frozen=True)
class TrainedGenerator:
    """Result of a training: the selected generator and the records of the training.

    Attributes:
        weights: state dict of the selected generator.
        audited: file name without suffix -> weights that only the privacy audit reads, for example those of a critic.
        step: training step of `weights`.
        scores: probe scores at that step; empty without a probe.
        curve: one mapping for each record, with "step" and the losses or scores.
        watched: step -> (image, label), each (n, x, y) uint8, drawn from the same random numbers at every step.
        promise: the proven privacy guarantee as plain values for card, page and run; empty for kinds without one.
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
        """Train on the patches of training patients and select a generator.

        Args:
            name: name of the generator in params.yaml, for progress and error messages.
            settings: its entry in params.yaml.
            patches: pairs of training patients only.
            probe: scores a generator on validation patients. Called `probes` times if `checkpoint_choice` is "probe_dsc".
            checkpoints: stores resume files and the weights of every probed generator. A valid resume file in it is continued.
            recorder: receives the curves.

        Raises:
            InputError: a loss is not finite; the message names the step.
        """
        ...

    def blank(self, settings: Any, patch_size: int) -> Mapping[str, Mapping[str, Tensor]]:
        """Initial weights by file name, "generator" and the names of `TrainedGenerator.audited`; files are checked against their shapes."""
        ...

    def sampler(self, settings: Any, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> Sampler:
        """Build a sampler with these weights. Raises RuntimeError if their shapes do not match the settings."""
        ...

    def latent_space(self, sampler: Sampler) -> LatentSpace | None:
        """The latent space that an attacker with the generator can search, or None if the kind has none."""
        ...

    def critic(self, settings: Any, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> PairCritic | None:
        """The network that scores pairs, from `TrainedGenerator.audited`, or None. RuntimeError or KeyError if weights do not match."""
        ...

    def blank_training(self, settings: Any, patch_size: int) -> Callable[[], object]:
        """A training on empty patches, for timing: each call runs one complete generator step."""
        ...

    def rehearse(self, settings: Any, patch_size: int, counted: Rehearsal) -> Need:
        """Memory of a training in bytes, measured by one step on fake tensors."""
        ...
