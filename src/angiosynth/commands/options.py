"""What the commands of the command line share: names to choose from, and the settings file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from angiosynth.settings import Settings


class ModelName(StrEnum):
    dcgan = "dcgan"
    wgan_gp = "wgan-gp"
    wgan_gp_sn = "wgan-gp-sn"


class DataName(StrEnum):
    real = "real"
    dcgan = "dcgan"
    wgan_gp = "wgan-gp"
    wgan_gp_sn = "wgan-gp-sn"


class ScoredName(StrEnum):
    real = "real"
    dcgan = "dcgan"
    wgan_gp = "wgan-gp"
    wgan_gp_sn = "wgan-gp-sn"
    threshold = "threshold"


class StartName(StrEnum):
    scratch = "scratch"
    real = "real"
    dcgan = "dcgan"
    wgan_gp = "wgan-gp"
    wgan_gp_sn = "wgan-gp-sn"
    package = "package"


Params = Annotated[Path, typer.Option("--params", help="The settings file.")]
Model = Annotated[ModelName, typer.Option("--model", help="Which GAN.")]
PARAMS = Path("params.yaml")


def settings_of(path: Path) -> Settings:
    """params.yaml, validated."""
    from angiosynth.settings import load_settings

    return load_settings(path)
