"""Settings on which the result of a training depends, for its MLflow run and for the key of its resume files."""

from __future__ import annotations

from typing import Any

from angiosynth.settings import Settings


def generator_settings(settings: Settings, model: str) -> dict[str, Any]:
    """Return the settings that affect the result of train-generator@<model>."""
    return {
        "model": model,
        "generator": settings.generator(model),
        "probe": settings.probe,
        "intensity": settings.cohort.intensity,
        "patches": settings.patches,
        "threads": settings.threads,
    }


def unet_settings(settings: Settings, data: str) -> dict[str, Any]:
    """Return the settings that affect the result of train-unet@<data>, given those of `chosen_settings`."""
    return {"data": data, "unet": settings.unet, "intensity": settings.cohort.intensity, "threads": settings.threads}


def transfer_settings(settings: Settings, start: str, site: str) -> dict[str, Any]:
    """Return the settings that affect the result of transfer@<start> at a site, given those of `chosen_settings`."""
    network = {"width": settings.unet.width, "dropout": settings.unet.dropout, "precision": settings.unet.precision}
    training = {"start": start, "site": site}
    return {**training, "transfer": settings.transfer, "unet": network, "intensity": settings.cohort.intensity, "threads": settings.threads}
