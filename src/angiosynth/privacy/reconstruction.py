"""Attack that needs the generator: how closely it can reproduce a given patch.

The white-box attack of GAN-Leaks (ACM CCS 2020, section 4.4, eqs. 5 and 7): the latent vector is optimised to minimise the distance of the
drawn pair to the given one. Members can be reproduced more closely, so the score is the negative remaining distance.

Only the latent vector is optimised, and its length is kept near that of random vectors. Noise maps have more values than a patch; if they
were optimised too, the generator could reproduce any patch.
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

STARTS = 512  # random latent vectors; each patch starts from the one with the nearest drawing
LENGTH_WEIGHT = 0.01  # weight of the squared deviation of mean(z^2) from 1, which keeps z in the range that the generator was trained for
RATE = 0.05  # learning rate of Adam
CHUNK = 128  # pairs optimised at once


def reconstruction_scores(space: LatentSpace, pairs: Tensor, steps: int, seed: int) -> NDArray[np.float64]:
    """Return scores (n,): the negative root mean square difference between each pair and the generator's best reproduction of it.

    Args:
        space: the generator's latent space; its weights do not change.
        pairs: (n, 2, x, y), encoded by `space.encode`.
        steps: number of steps of Adam.
        seed: seed of the initial latent vectors.
    """
    latents, drawn = _random_starts(space, seed)
    # Each pair starts from the random latent vector whose drawing is nearest: from arbitrary vectors few optimisations converge.
    targets = pairs.flatten(1).numpy()
    first = latents[torch.from_numpy(nearest(targets, drawn)[1][:, 0]).to(device())]
    chunks = list(zip(pairs.split(CHUNK), first.split(CHUNK), strict=True))
    errors = [_optimise(space, target.to(device()), start, steps) for target, start in progress(chunks, "reconstruction", len(chunks))]
    return -torch.cat(errors).double().cpu().numpy()


@torch.no_grad()
def _random_starts(space: LatentSpace, seed: int) -> tuple[Tensor, NDArray[np.float32]]:
    """Random latent vectors (k, size) and the pairs drawn from them without noise, flattened (k, values)."""
    vectors = torch.randn(STARTS, space.size, generator=torch.Generator().manual_seed(seed)).to(device())
    drawn = torch.cat([space.draw(chunk) for chunk in vectors.split(CHUNK)])
    return vectors, drawn.float().flatten(1).cpu().numpy()


def _optimise(space: LatentSpace, target: Tensor, start: Tensor, steps: int) -> Tensor:
    """Optimise latent vectors (n, size) towards pairs (n, 2, x, y); returns the smallest root mean square difference (n,) of all steps."""
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
