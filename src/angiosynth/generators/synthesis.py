"""Draw a synthetic patch set and describe it in a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.data.patches import PatchSet, create_patch_arrays
from angiosynth.generators.base import CHUNK, Sampler
from angiosynth.runtime.progress import progress
from angiosynth.settings import SynthesisSettings

BY_UNET = "unet"  # entry `labels` of the card of a set that U-nets on real patches labelled


def labelled_by_unet(card: Mapping[str, Any]) -> bool:
    """Return whether a set has labels of U-nets, so that its generator draws other ones."""
    return card.get("labels") == BY_UNET


def write_synthetic_set(  # six parameters: the source of the labels is independent of that of the images
    sampler: Sampler,
    settings: SynthesisSettings,
    real: PatchSet,
    facts: dict[str, Any],
    target: Path,
    relabel: Callable[[ImagePatches], LabelPatches] | None = None,
) -> dict[str, Any]:
    """Write image.npy and label.npy of a synthetic patch set and return its card.

    Args:
        sampler: sampler of the selected generator.
        settings: section `synthesis`.
        real: the training patients' patches, whose vessel fraction the card states for comparison.
        facts: further entries of the card (model, digest of settings). They must not vary between runs (no times, no run ids).
        target: an existing folder.
        relabel: gives the labels (n, x, y) of images (n, x, y); None keeps the generator's. With it the card has `generator_labels_dsc`,
            the DSC of the generator's labels against the new ones over all pixels.
    """
    image, label = create_patch_arrays(target, settings.pairs, real.size)
    done = both = either = 0
    chunks = sampler.chunks(settings.pairs, settings.seed, settings.label_threshold)
    for images, drawn in progress(chunks, "synthesize", total=-(-settings.pairs // CHUNK)):
        labels = relabel(images) if relabel else drawn
        image[done : done + len(images)], label[done : done + len(images)] = images, labels
        done += len(images)
        both, either = both + int((labels & drawn).sum()), either + int(labels.sum()) + int(drawn.sum())
    vessel_fraction = float(label.mean())
    del image, label  # closed before the folder is moved
    agreement = {"generator_labels_dsc": round(2 * both / either, 4) if either else 1.0} if relabel else {}
    return {
        **facts,
        "n": settings.pairs,
        "size": real.size,
        "seed": settings.seed,
        "labels": BY_UNET if relabel else "generator",
        **agreement,
        "label_threshold": settings.label_threshold,
        "intensity": real.meta["intensity"],
        "vessel_fraction": round(vessel_fraction, 6),
        "vessel_fraction_real": round(real.vessel_fraction(), 6),
    }
