"""The settings that a training depends on, for its run and for the key of its resume files."""

from __future__ import annotations

from typing import Any

from angiosynth.settings import Settings


def generator_settings(settings: Settings, model: str) -> dict[str, Any]:
    """The settings that train-generator@<model> depends on."""
    return {
        "model": model,
        "generator": settings.generator(model),
        "probe": settings.probe,
        "intensity": settings.cohort.intensity,
        "patches": settings.patches,
        "threads": settings.threads,
    }


def unet_settings(settings: Settings, data: str) -> dict[str, Any]:
    """The settings that train-unet@<data> depends on, after `chosen_settings`."""
    return {"data": data, "unet": settings.unet, "intensity": settings.cohort.intensity, "threads": settings.threads}


def transfer_settings(settings: Settings, start: str, site: str) -> dict[str, Any]:
    """The settings that transfer@<start> depends on at a site, after `chosen_settings`."""
    network = {"width": settings.unet.width, "dropout": settings.unet.dropout, "precision": settings.unet.precision}
    where = {"start": start, "site": site}
    return {**where, "transfer": settings.transfer, "unet": network, "intensity": settings.cohort.intensity, "threads": settings.threads}
