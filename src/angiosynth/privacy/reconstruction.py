"""Attack of whoever holds the generator: how well can it be made to draw a given patch?

The white-box attack of GAN-Leaks (ACM CCS 2020, section 4.4, eqs. 5 and 7): the latent vector is optimised until the drawn pair is as near
to the given one as it gets. A patch that was trained on can be drawn more closely, so the score is minus the remaining distance.

The latent vector alone is optimised, its length held near that of a drawn one: noise maps have more pixels than a patch, and left
free they would draw any patch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from angiosynth.compute.precision import device
from angiosynth.generators.base import LatentSpace
from angiosynth.privacy.nearest import nearest
from angiosynth.runtime.progress import progress

STARTS = 512  # random latents, of which each patch begins with the nearest
LENGTH_WEIGHT = 0.01  # of the squared departure of |z|^2 from its mean, so that z stays where the generator was trained
RATE = 0.05
CHUNK = 128


def reconstruction_scores(space: LatentSpace, pairs: Tensor, steps: int, seed: int) -> NDArray[np.float64]:
    """Minus the root mean square between each pair and the nearest that the generator was made to draw, (n,).

    Args:
        space: of the generator, whose weights stay as they are.
        pairs: (n, 2, x, y), as `space.encode` makes them.
        steps: of Adam for each patch.
        seed: of the first latents.
    """
    latents, drawn = _random_starts(space, seed)
    # Each pair starts from the random latent whose drawing is nearest: from an arbitrary one few optimisations arrive.
    targets = pairs.flatten(1).numpy()
    first = latents[torch.from_numpy(nearest(targets, drawn)[1][:, 0]).to(device())]
    chunks = list(zip(pairs.split(CHUNK), first.split(CHUNK), strict=True))
    errors = [_optimise(space, target.to(device()), start, steps) for target, start in progress(chunks, "reconstruction", len(chunks))]
    return -torch.cat(errors).double().cpu().numpy()


@torch.no_grad()
def _random_starts(space: LatentSpace, seed: int) -> tuple[Tensor, NDArray[np.float32]]:
    """Random latent vectors (k, vector) and the pairs drawn from them without noise, (k, values)."""
    vectors = torch.randn(STARTS, space.size, generator=torch.Generator().manual_seed(seed)).to(device())
    drawn = torch.cat([space.draw(chunk) for chunk in vectors.split(CHUNK)])
    return vectors, drawn.float().flatten(1).cpu().numpy()


def _optimise(space: LatentSpace, target: Tensor, start: Tensor, steps: int) -> Tensor:
    """The least root mean square (n,) of all steps."""
    vector = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([vector], RATE)
    best = torch.full((len(target),), torch.inf, device=target.device)
    for step in range(steps + 1):
        error = (space.draw(vector) - target).square().mean(dim=(1, 2, 3))
        best = torch.minimum(best, error.detach())
        if step < steps:
            length = (vector.square().mean(dim=1) - 1.0).square()
            optimiser.zero_grad(set_to_none=True)
            (error + LENGTH_WEIGHT * length).sum().backward()
            optimiser.step()
    return best.sqrt()
