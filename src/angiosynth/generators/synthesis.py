"""Draw a synthetic patch set and describe it in a card."""

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
    """Write image.npy and label.npy of a synthetic patch set and return its card.

    Args:
        sampler: sampler of the selected generator.
        settings: section `synthesis`.
        real: the training patients' patches, whose vessel fraction the card states for comparison.
        facts: further entries of the card (model, digest of settings). They must not vary between runs (no times, no run ids).
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
