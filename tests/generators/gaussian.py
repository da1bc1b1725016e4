"""A kind of generator that is no GAN, for tests: mean and deviation of every pixel, with neither latent space nor critic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from angiosynth.arrays import ImagePatches, LabelPatches, to_levels
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import CHUNK, GeneratorSettings, Kind, Probe, Sampler, Searched, TrainedGenerator
from angiosynth.generators.schedule import WATCHED, probe_steps, watch_steps
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import progress
from angiosynth.runtime.recorder import Recorder
from angiosynth.runtime.rehearsal import Need, Rehearsal
from angiosynth.sections import PositiveFloat


class GaussianSettings(GeneratorSettings):
    kind: Literal["gaussian"] = "gaussian"
    spread: PositiveFloat = 1.0  # of what is drawn, in deviations of the training patches


KIND = Kind("gaussian", "Gaussian", GaussianSettings, __name__, {"spread": Searched("linear", (0.5, 2.0))})


class Gaussian(nn.Module):
    """Noise (n, 2, x, y) to pairs: images in [-1, 1], labels about 0 to 1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, spread: float) -> None:
        super().__init__()
        self.spread = spread
        self.register_buffer("mean", torch.zeros(2, size, size))
        self.register_buffer("deviation", torch.ones(2, size, size))

    def forward(self, noise: Tensor) -> Tensor:
        return self.mean + self.spread * self.deviation * noise


class GaussianSampler:
    """A `Sampler`."""

    def __init__(self, network: Gaussian, device: torch.device) -> None:
        self.network, self.device = network, device

    def example(self) -> NDArray[np.float32]:
        return np.zeros((2, *self.network.mean.shape), np.float32)

    def pairs(self, count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        chunks = list(self.chunks(count, seed, threshold))
        return np.concatenate([image for image, _ in chunks]), np.concatenate([label for _, label in chunks])

    def chunks(self, count: int, seed: int, threshold: float | None = None) -> Iterator[tuple[ImagePatches, LabelPatches]]:
        random = torch.Generator().manual_seed(seed)
        for start in range(0, count, CHUNK):
            noise = torch.randn(min(CHUNK, count - start), *self.network.mean.shape, generator=random).to(self.device)
            drawn = self.network(noise).cpu().numpy()
            yield to_levels(drawn[:, 0]), (drawn[:, 1] > (0.5 if threshold is None else threshold)).astype(np.uint8)


def train(
    name: str, settings: GaussianSettings, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
) -> TrainedGenerator:
    random = torch.Generator().manual_seed(settings.seed)
    state: dict[str, Any] = checkpoints.load() or {
        "step": 0,
        "sums": torch.zeros(2, 2, patches.size, patches.size),
        "random": random.get_state(),
        "curve": [],
        "best": {},
        "watched": {},
    }
    random.set_state(state["random"])
    steps = settings.steps
    for step in progress(range(state["step"] + 1, steps + 1), f"train-generator {name}", steps, done=state["step"]):
        rows = torch.randint(len(patches), (settings.batch_size,), generator=random).numpy()
        pairs = torch.stack([torch.from_numpy(part) for part in patches.pairs(rows)], dim=1)
        state["sums"] += torch.stack([pairs.sum(dim=0), pairs.square().sum(dim=0)])
        mean, square = state["sums"] / (step * settings.batch_size)
        weights = {"mean": mean, "deviation": (square - mean.square()).clamp(min=0).sqrt()}
        drawer = sampler(settings, patches.size, weights, torch.device("cpu"))
        scores: dict[str, float] = {}
        if settings.checkpoint_choice == "probe_dsc" and step in probe_steps(steps, settings.probes):
            scores = probe(drawer, step)
            checkpoints.keep(step, weights)
            state["curve"].append({"step": step, **scores})
            recorder.metrics(scores, step)
        best = state["best"]
        if (step == steps and not best) or (scores and scores["probe_dsc"] > best.get("scores", {}).get("probe_dsc", -1.0)):
            state["best"] = {"step": step, "scores": scores, "weights": weights}
        if step in watch_steps(steps):
            image, label = drawer.pairs(WATCHED, 0)
            state["watched"][step] = torch.from_numpy(image), torch.from_numpy(label)
        if step % settings.checkpoint_every == 0:
            checkpoints.save(step, {**state, "step": step, "random": random.get_state()})
    best = state["best"]
    return TrainedGenerator(best["weights"], {}, best["step"], best["scores"], state["curve"], state["watched"])


def blank(settings: GaussianSettings, patch_size: int) -> dict[str, dict[str, Tensor]]:
    return {"generator": Gaussian(patch_size, settings.spread).state_dict()}


def sampler(settings: GaussianSettings, patch_size: int, weights: Mapping[str, Tensor], device: torch.device) -> GaussianSampler:
    network = Gaussian(patch_size, settings.spread)
    network.load_state_dict(weights)
    return GaussianSampler(network.to(device).eval(), device)


def latent_space(sampler: Sampler) -> None:
    """Every pixel is drawn by itself: no vector is behind a patch."""


def critic(settings: GaussianSettings, patch_size: int, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Nothing scored pairs."""


def blank_training(settings: GaussianSettings, patch_size: int) -> Callable[[], object]:
    pairs = torch.zeros(settings.batch_size, 2, patch_size, patch_size)
    return lambda: torch.stack([pairs.sum(dim=0), pairs.square().sum(dim=0)])


def rehearse(settings: GaussianSettings, patch_size: int, counted: Rehearsal) -> Need:
    sums = torch.zeros(2, 2, patch_size, patch_size)
    lasting = counted.alive
    pairs = torch.zeros(settings.batch_size, 2, patch_size, patch_size)
    del pairs, sums
    return Need(counted.peak, lasting)
