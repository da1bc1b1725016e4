"""Whoever holds the generator: how well can it be made to draw a given patch? GAN-Leaks' attack by optimising the latent
(Chen et al., CCS 2020, section 4.4, eqs. 5 and 7).

The latent vector alone is optimised, its length held near that of a drawn one. Noise maps stay at their mean, zero: they have more
pixels than the patch, and left free they would draw any patch, seen or unseen.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.gan.networks import Generator
from angiosynth.privacy.nearest import nearest
from angiosynth.runtime.precision import device
from angiosynth.runtime.progress import progress

STARTS = 512  # random latents, of which each patch begins with the nearest
LENGTH_WEIGHT = 0.01  # of the departure of |z|^2 from its mean
RATE = 0.05
CHUNK = 128


def reconstruction_scores(generator: Generator, pairs: Tensor, steps: int, seed: int) -> NDArray[np.float64]:
    """Minus the root mean square between each pair and the best that the generator was brought to draw.

    Args:
        generator: in inference mode; its weights stay as they are.
        pairs: (n, 2, x, y), image and label on the generator's own ranges.
        steps: of Adam for each patch.
        seed: of the first latents.
    """
    where = device()
    frozen = generator.to(where).eval().requires_grad_(False)
    latents, drawn = _starts(frozen, seed, where)
    targets = pairs.flatten(1).numpy()
    first = latents[torch.from_numpy(nearest(targets, drawn)[1][:, 0]).to(where)]
    chunks = list(zip(pairs.split(CHUNK), first.split(CHUNK), strict=True))
    found = [_fit(frozen, target.to(where), start, steps) for target, start in progress(chunks, "reconstruction", len(chunks))]
    return -torch.cat(found).double().cpu().numpy()


@torch.no_grad()
def _starts(generator: Generator, seed: int, where: torch.device) -> tuple[Tensor, NDArray[np.float32]]:
    """Random latent vectors (k, vector) and what they draw without noise, (k, values)."""
    vectors = torch.randn(STARTS, generator.sizes[0], generator=torch.Generator().manual_seed(seed)).to(where)
    drawn = torch.cat([generator(_whole(generator, part)) for part in vectors.split(CHUNK)])
    return vectors, drawn.float().flatten(1).cpu().numpy()


def _fit(generator: Generator, target: Tensor, start: Tensor, steps: int) -> Tensor:
    """The least root mean square (n,) seen on the way."""
    vector = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([vector], RATE)
    best = torch.full((len(target),), torch.inf, device=target.device)
    for step in range(steps + 1):
        error = (generator(_whole(generator, vector)) - target).square().mean(dim=(1, 2, 3))
        best = torch.minimum(best, error.detach())
        if step < steps:
            length = (vector.square().mean(dim=1) - 1.0).square()
            optimiser.zero_grad(set_to_none=True)
            (error + LENGTH_WEIGHT * length).sum().backward()
            optimiser.step()
    return best.sqrt()


def _whole(generator: Generator, vector: Tensor) -> Tensor:
    """The generator's input: the vectors (n, vector), and zeros for the noise maps."""
    return torch.cat([vector, vector.new_zeros(len(vector), generator.latent_size - generator.sizes[0])], dim=1)
