"""Metadata of a U-net, unet.json; readable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from angiosynth.data.patches import LEAST_DEVIATION
from angiosynth.errors import InputError
from angiosynth.runtime.output import read_json
from angiosynth.sections import Dropout, Fraction, NonNegative, Seed, Width
from angiosynth.settings import IntensitySettings


class UnetFacts(BaseModel):
    """Values of unet.json that are needed to use the weights. `mean` and `deviation` standardise images in [-1, 1]."""

    model_config = ConfigDict(frozen=True, strict=True)

    width: Width
    dropout: Dropout
    mean: Annotated[float, Field(ge=-1.01, le=1.01, allow_inf_nan=False)]
    deviation: Annotated[float, Field(ge=0.99 * LEAST_DEVIATION, le=1.01, allow_inf_nan=False)]
    precision: Literal["auto", "float32", "bfloat16"]
    seed: Seed | None = None
    intensity: IntensitySettings | None = None
    patches_digest: str | None = None  # of the patches that it was trained on; a package's has none
    val_dsc: Fraction | None = None
    val_hd95_mm: NonNegative | None = None


def read_facts(folder: Path) -> UnetFacts:
    """Read unet.json from the folder of a U-net.

    Raises:
        InputError: the file is missing or damaged, or a value is outside the range that trainings write; the message names the first.
    """
    path = folder / "unet.json"
    try:
        return UnetFacts.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ascii(".".join(map(str, first["loc"])))[1:-1]
        raise InputError(f"{path}: damaged, {key}: {first['msg']}; run `dvc repro` to train it") from error
