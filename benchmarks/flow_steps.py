"""Measure the error of integrating a flow's velocity with few evaluations, for the table of docs/flow.md.

    python benchmarks/flow_steps.py [--steps 600] [--width 32] [--pairs 96]

Run it in a project's folder after `dvc repro patches`. It trains a flow on the source's training patients for `--steps` steps. Then it
integrates the same noise with several methods, numbers of evaluations and powers of the time grid. It prints the root mean square distance
to the end points of 64 steps of Heun's method, for image and label in standard deviations of the channel, and the fraction of vessel
pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.generators.flow.kinds import FlowSettings
from angiosynth.generators.flow.training import FlowTraining
from angiosynth.generators.flow.transport import Field, integrate, time_grid
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import progress
from angiosynth.settings import load_settings

REFERENCE_STEPS, REFERENCE_POWER = 64, 1.5
EVALUATIONS, POWERS = (6, 8, 10), (1.0, 1.5, 2.0)

Method = Callable[[Field, Tensor, Sequence[float]], Tensor]


def heun(field: Field, x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate by Heun's method: each step uses the mean of the slopes at its start and at the end of an Euler step."""
    for now, then in pairwise(times):
        slope = field(x, x.new_full((1,), now))
        slope_then = field(x + (then - now) * slope, x.new_full((1,), then))
        x = x + (then - now) / 2 * (slope + slope_then)
    return x


def midpoint(field: Field, x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate by the midpoint method: each step uses the slope at the middle of an Euler step."""
    for now, then in pairwise(times):
        middle = x + (then - now) / 2 * field(x, x.new_full((1,), now))
        x = x + (then - now) * field(middle, x.new_full((1,), (now + then) / 2))
    return x


METHODS: dict[str, tuple[Method, int]] = {"Heun": (heun, 2), "midpoint": (midpoint, 2), "Adams-Bashforth": (integrate, 1)}


@torch.no_grad()
def compare(training: FlowTraining, pairs: int) -> None:
    flow = training.average.eval()
    noise = torch.randn(pairs, *flow.shape, generator=torch.Generator().manual_seed(1)).to(training.device)

    def vessel(ends: Tensor) -> float:
        return float((flow.restored(ends)[:, 1] > 0).float().mean())

    exact = heun(flow.velocity, noise, time_grid(REFERENCE_STEPS, REFERENCE_POWER))
    print(f"vessel fraction: real {training.patches.vessel_fraction():.4f}, drawn by {REFERENCE_STEPS} steps of Heun {vessel(exact):.4f}")
    print("evaluations, method, power: distance of image, of label; vessel fraction")
    for evaluations in EVALUATIONS:
        for name, (method, each) in METHODS.items():
            for power in POWERS:
                ends = method(flow.velocity, noise, time_grid(evaluations // each, power))
                image, label = (ends - exact).square().mean(dim=(0, 2, 3)).sqrt().tolist()
                print(f"{evaluations} {name} {power}: {image:.3f}, {label:.3f}; {vessel(ends):.4f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=96)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings, home = load_settings(Path("params.yaml")), Workspace()
    site = settings.cohort.source
    real = open_patch_set(home.patches(site)).of_patients(load_split(home.splits, site).train)
    training = FlowTraining(FlowSettings(steps=options.steps, width=options.width), real)
    for _ in progress(range(options.steps), "training", options.steps):
        training.train_step()
    compare(training, options.pairs)


if __name__ == "__main__":
    main()
