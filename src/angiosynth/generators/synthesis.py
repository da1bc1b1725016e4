"""Draw a synthetic patch set with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from angiosynth.data.patches import PatchSet, create_patch_arrays
from angiosynth.generators.base import CHUNK, Sampler
from angiosynth.runtime.progress import progress
from angiosynth.settings import SynthesisSettings


def write_synthetic_set(
    sampler: Sampler, settings: SynthesisSettings, real: PatchSet, facts: dict[str, Any], target: Path
) -> dict[str, Any]:
    """Write a synthetic patch set: image.npy and label.npy; gives its card.

    Args:
        sampler: of the chosen generator.
        settings: section `synthesis`.
        real: the training patients' patches, for the vessel fraction to compare with.
        facts: further entries of the card (model, digest of settings); nothing volatile.
        target: an existing folder.
    """
    image, label = create_patch_arrays(target, settings.pairs, real.size)
    done = 0
    chunks = sampler.chunks(settings.pairs, settings.seed, settings.label_threshold)
    for images, labels in progress(chunks, "synthesize", total=-(-settings.pairs // CHUNK)):
        image[done : done + len(images)], label[done : done + len(images)] = images, labels
        done += len(images)
    vessel_fraction = float(label.mean())
    del image, label  # closed before the folder is moved
    return {
        **facts,
        "n": settings.pairs,
        "size": real.size,
        "seed": settings.seed,
        "label_threshold": settings.label_threshold,
        "intensity": real.meta["intensity"],
        "vessel_fraction": round(vessel_fraction, 6),
        "vessel_fraction_real": round(real.vessel_fraction(), 6),
    }
