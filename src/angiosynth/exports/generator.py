"""The generator of a package as an exported program, for all formats with generators."""

from __future__ import annotations

from pathlib import Path

import torch

from angiosynth.errors import InputError
from angiosynth.exports.base import Contents
from angiosynth.exports.programs import write_program
from angiosynth.generators.registry import KINDS
from angiosynth.generators.sampling import NoiseSampler
from angiosynth.release.generator import ShippedGenerator, read_generator
from angiosynth.runtime.output import write_json

PROGRAM, FACTS = "generator.pt2", "generator.json"
MOST_AT_ONCE = 4096  # largest batch


def shipped_generator(contents: Contents) -> ShippedGenerator | None:
    """Read the generator of a package; None if it has none.

    Raises:
        InputError: it is damaged, its patches differ in size from the set, or it is not a network.
    """
    shipped = read_generator(contents.package)
    if shipped is None:
        return None
    if shipped.facts.size != contents.card.size:
        raise InputError(f"{contents.package / 'generator'}: draws patches of another size than card.json tells; get the package again")
    if not isinstance(shipped.sampler, NoiseSampler):
        title = KINDS[shipped.facts.kind].title
        raise InputError(f"{contents.package / 'generator'}: {title} is a simulator and no network; draw from it by angiosynth itself")
    return shipped


def write_generator(shipped: ShippedGenerator, folder: Path) -> int:
    """Write generator.pt2 and generator.json and return the length of the network's input."""
    sampler = shipped.sampler
    assert isinstance(sampler, NoiseSampler)
    (latent,) = sampler.shape
    write_program(sampler.network, torch.zeros(2, latent), {0: torch.export.Dim("n", min=1, max=MOST_AT_ONCE)}, folder / PROGRAM)
    threshold = sampler.threshold if shipped.facts.threshold is None else shipped.facts.threshold
    write_json(folder / FACTS, {"kind": shipped.facts.kind, "size": shipped.facts.size, "latent": latent, "threshold": threshold})
    return latent
