"""Time a GAN's training step of the paper's code against this project's, on the same batch in one process.

    python -m benchmarks.gan_step [--models wgan-gp-sn] [--widths 16 32 96] [--batch 16] [--runs 3] [--no-gap] [--memory] [--json]

The published side follows the description of that code: float32; channels-first batches; a separate backward pass with retained graph for
the real loss, the generated loss and the penalty; gradients of the generator computed in critic steps and discarded; spectral norm
computed in every forward pass. Both sides have the paper's layers, 96x96 patches and transposed convolutions. One step is the paper's: five
critic steps and one generator step (DCGAN: one and one). The best of the runs counts. The published side runs first, with the C library's
default memory management; this project's side keeps freed memory, as cli.py does. `loss_gap` is the mean difference of the critic's
distance between bfloat16 and float32 over 200 steps of a small WGAN-GP, divided by its mean. `share` is the rate of this project's
convolutions and matrix products as a part of the rate of products of large matrices in the same precision. `--memory` adds the peak memory
of each side's steps, measured in a separate process. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.compute.precision import bfloat16_is_native, device
from angiosynth.data.patches import PatchSet
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.networks import MinibatchDiscrimination
from angiosynth.generators.gan.training import GanTraining
from angiosynth.generators.registry import KINDS
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say
from benchmarks.paper import Operations, matrix_rate

SIZE = 96
Step = Callable[[], object]
CRITIC_STEPS = {"dcgan": 1, "wgan-gp": 5, "wgan-gp-sn": 5}
LATENT = {"dcgan": 100, "wgan-gp": 128, "wgan-gp-sn": 128}
BETAS = {"dcgan": (0.5, 0.999), "wgan-gp": (0.0, 0.9), "wgan-gp-sn": (0.0, 0.9)}


def settings(kind: str, width: int, batch: int, **more: Any) -> GanSettings:
    """Return the paper's settings at a given width."""
    values: dict[str, Any] = {"steps": 1000, "batch_size": batch, "critic_iterations": CRITIC_STEPS[kind], "latent_size": LATENT[kind]}
    values |= {"learning_rate_generator": 1e-4, "learning_rate_critic": 1e-4, "betas": BETAS[kind]}
    values |= {"width": width, "upsampling": "transposed", "noise": False, "sharpen": False, "flip": False, **more}
    validated = KINDS[kind].settings.model_validate(values)
    assert isinstance(validated, GanSettings)
    return validated


def patch_set(count: int, size: int) -> PatchSet:
    """Draw images of noise with bright discs; the discs are the label."""
    rng = np.random.default_rng(1)
    x, y = np.mgrid[:size, :size]
    centres, radii = rng.uniform(0, size, (count, 2, 1, 1)), rng.uniform(1, size / 8, (count, 1, 1))
    label = ((x - centres[:, 0]) ** 2 + (y - centres[:, 1]) ** 2 < radii**2).astype(np.uint8)
    image = (rng.integers(40, 100, label.shape) + 120 * label).astype(np.uint8)
    return PatchSet(image, label, np.full(count, ""), np.arange(count), {}, Path())


class Published:
    """The published training loop: networks of torch's layers, critic step and generator step."""

    def __init__(self, model: str, width: int, where: torch.device) -> None:
        self.model = model
        self.generator = _published_generator(LATENT[model], width).to(where)
        self.critic: nn.Module = (PublishedDiscriminator(width) if model == "dcgan" else _published_critic(model, width)).to(where)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), 1e-4, (0.0, 0.9))
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), 1e-4, (0.0, 0.9))

    def train_step(self, real: Tensor) -> None:
        for _ in range(CRITIC_STEPS[self.model]):
            self.critic_step(real, self.latent(len(real)))
        self.generator_step(real, self.latent(len(real)))

    def latent(self, count: int) -> Tensor:
        return torch.randn(count, LATENT[self.model]).to(next(self.generator.parameters()).device)

    def critic_step(self, real: Tensor, latent: Tensor) -> None:
        self.critic_optimiser.zero_grad()
        fake = self.generator(latent)  # not detached: the generator's gradients are computed and discarded
        for pairs, sign in ((real, -1.0), (fake, 1.0)):
            scores = self.critic(pairs)
            loss = F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(sign < 0)))
            (loss if self.model == "dcgan" else sign * scores.mean()).backward(retain_graph=True)
        if self.model != "dcgan":
            between = torch.lerp(real, fake, torch.rand(1, device=real.device))
            gradient = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)[0]
            (10.0 * (gradient.norm() - 1.0) ** 2).backward(retain_graph=True)
        self.critic_optimiser.step()

    def generator_step(self, real: Tensor, latent: Tensor) -> None:
        self.generator_optimiser.zero_grad()
        fake = self.generator(latent)
        if isinstance(self.critic, PublishedDiscriminator):
            real_mean, fake_mean = (self.critic.features(pairs).mean(dim=0) for pairs in (real, fake))
            loss = F.l1_loss(fake_mean, real_mean) / 100
        else:
            loss = -self.critic(fake).mean()
        loss.backward()
        self.generator_optimiser.step()


class PublishedDiscriminator(nn.Module):
    """DCGAN's discriminator with batch norm and minibatch discrimination."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [2] + [width * 2**level for level in range(4)]
        blocks: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
            blocks.append(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False))
            blocks += [nn.BatchNorm2d(outputs)] * (level > 0) + [nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 50, 5, bias=False), nn.Flatten())
        self.minibatch = MinibatchDiscrimination(200, 100, 5)
        self.score = nn.Linear(300, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        features = self.features(pairs)
        scores: Tensor = self.score(torch.cat([features, self.minibatch(features)], dim=1))
        return scores.squeeze(1)


def _published_generator(latent: int, width: int) -> nn.Sequential:
    """Build the generator: 3x3 maps, then five transposed 5x5 convolutions to pairs of 96x96."""
    channels = [width * 2**level for level in reversed(range(5))]
    blocks: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, channels[0], 5, padding=1, bias=False)]
    for inputs, outputs in itertools.pairwise([*channels, 2]):
        blocks += [nn.BatchNorm2d(inputs), nn.ReLU()]
        blocks.append(nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=False))
    return nn.Sequential(*blocks, nn.Tanh())


def _published_critic(model: str, width: int) -> nn.Sequential:
    """Build the critic: five 5x5 stride-2 convolutions with channels 2-w-2w-4w-8w-16w, and one convolution to a scalar."""
    spectral = model == "wgan-gp-sn"
    channels = [2] + [width * 2**level for level in range(5)]
    blocks: list[nn.Module] = []
    for level, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        convolution = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False)
        blocks.append(torch.nn.utils.spectral_norm(convolution) if spectral else convolution)
        if not spectral and level > 0:
            blocks.append(nn.InstanceNorm2d(outputs))
        blocks.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 5, padding=1, bias=False), nn.Flatten(0))


def sides(model: str, width: int, batch: int) -> dict[str, Callable[[], Step]]:
    """Return a builder of the whole step for each side; both use the same batch."""
    patches = patch_set(4 * batch, SIZE)

    def ours() -> Step:
        training = GanTraining(settings(model, width, batch), patches)
        real = training._real_batch()
        training._real_batch = lambda: real  # type: ignore[method-assign]
        return training.train_step

    def published() -> Step:
        real = GanTraining(settings(model, 4, batch), patches)._real_batch().contiguous()
        theirs = Published(model, width, device())
        return lambda: theirs.train_step(real)

    return {"ours": ours, "published": published}


def compare(cases: Sequence[tuple[str, int]], batch: int, runs: int) -> dict[str, dict[str, float]]:
    """Time a whole step on both sides.

    Returns:
        Seconds of both sides, their ratio and the share of the matrix rate on this project's side, by "model/width".
    """
    rows: dict[str, dict[str, float]] = {}
    rate = matrix_rate(torch.bfloat16 if bfloat16_is_native(device()) else torch.float32)
    for side in ("published", "ours"):
        if side == "ours":
            keep_freed_memory()  # as cli.py does; it cannot be undone, so the published side runs first
        for model, width in cases:
            say(f"gan_step: {side}, {model} of width {width}")
            row, step = rows.setdefault(f"{model}/{width}", {}), sides(model, width, batch)[side]()
            row[f"{side}_s"] = best_of(step, runs)
            if side == "ours":
                with Operations() as operations:
                    step()
                row |= {"ratio": row["published_s"] / row["ours_s"], "share": operations.total / row["ours_s"] / rate}
    return rows


def added_memory(model: str, width: int, batch: int) -> dict[str, float]:
    """Measure the megabytes that two steps add to the peak memory of a new process, for each side."""
    added = {}
    for side in ("ours", "published"):
        case = ["--models", model, "--widths", str(width), "--batch", str(batch)]
        command = [sys.executable, "-m", "benchmarks.gan_step", "--child", side, *case]
        added[f"{side}_mb"] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return added


def child(side: str, model: str, width: int, batch: int) -> None:
    """Print the megabytes that two steps of one side add to this process's peak memory."""
    patch_set(4 * batch, SIZE)
    before = peak_mb()
    if side == "ours":
        keep_freed_memory()
    step = sides(model, width, batch)[side]()
    for _ in range(2):
        step()
    print(peak_mb() - before)


def peak_mb() -> float:
    """Return the peak resident memory of this process in MB. The kernel's `ru_maxrss` includes the parent's memory at the fork."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) / 1000


def best_of(step: Step, runs: int) -> float:
    """Return the seconds of the fastest of `runs` calls, after one warm-up call."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def loss_gap(steps: int = 200) -> float:
    """Return the mean difference of the critic's distance between bfloat16 and float32, smoothed over 20 steps, divided by its mean."""
    curves = []
    for precision in ("float32", "bfloat16"):
        training = GanTraining(settings("wgan-gp", 8, 16, precision=precision, upsampling="resize"), patch_set(256, 32))
        distance = np.array([float(training.train_step()["critic_distance"]) for _ in range(steps)])
        curves.append(np.convolve(distance, np.full(20, 1 / 20), "valid"))
    return float(np.abs(curves[1] - curves[0]).mean() / np.abs(curves[0]).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(LATENT), default=list(LATENT))
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32, 96])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-gap", action="store_true", help="leave out the 200 steps in both precisions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, each side in a separate process")
    parser.add_argument("--child", choices=("ours", "published"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.manual_seed(1)
    if options.child:
        child(options.child, options.models[0], options.widths[0], options.batch)
        return
    cases = list(itertools.product(options.models, options.widths))
    rows = compare(cases, options.batch, options.runs)
    for model, width in cases if options.memory else []:
        rows[f"{model}/{width}"] |= added_memory(model, width, options.batch)
    gap = None if options.no_gap else loss_gap()
    print(f"{torch.get_num_threads()} threads, {device()}, bfloat16 in hardware: {bfloat16_is_native(device())}, batch {options.batch}")
    print(f"{'model/width':<16}{'published':>11}{'ours':>9}{'ratio':>8}{'share':>8}")
    for name, row in rows.items():
        memory = f"{row['published_mb']:>9.0f} MB{row['ours_mb']:>7.0f} MB" if options.memory else ""
        print(f"{name:<16}{row['published_s']:>9.3f} s{row['ours_s']:>7.3f} s{row['ratio']:>8.2f}{row['share']:>8.0%}{memory}")
    if gap is not None:
        print(f"loss gap, bfloat16 against float32 over 200 steps: {gap:.4f}")
    if options.json:
        details = {name: {side: round(value, 4) for side, value in row.items() if side != "ratio"} for name, row in rows.items()}
        print(json.dumps({"ratio": {name: round(row["ratio"], 3) for name, row in rows.items()}, "loss_gap": gap, "details": details}))


if __name__ == "__main__":
    main()
