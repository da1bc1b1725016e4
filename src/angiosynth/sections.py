"""Types of the values in params.yaml.

All numbers are finite and integers are bounded. Values beyond the bounds would end in a traceback or an endless training, after earlier
stages have run for hours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOST = 10_000_000  # steps, patches, pairs
LARGEST = 1e6  # weights, spacings, deviations; its square does not overflow float32
LARGEST_SEED = 2**32 - 1  # the largest seed that all random generators in use accept


def _no_truth_value(value: Any) -> Any:
    """Refuse booleans as numbers: YAML reads `yes` and `on` as true, which Python would treat as 1."""
    if isinstance(value, bool):
        raise ValueError("is true or false, a number is needed")
    return value


def _printable(text: str) -> str:
    """Refuse control characters and unpaired surrogates, which paths and lines of text cannot contain."""
    if any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError("holds a character that cannot be printed")
    return text


Number = BeforeValidator(_no_truth_value)
Text = Annotated[str, AfterValidator(_printable)]
Positive = Annotated[int, Field(gt=0, le=MOST), Number]
Count = Annotated[int, Field(ge=0, le=MOST), Number]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), Number]
Width = Annotated[int, Field(gt=0, le=1024), Number]  # channels of a network's finest level
Batch = Annotated[int, Field(gt=0, le=65_536), Number]
Threads = Literal["auto"] | Annotated[int, Field(gt=0, le=1024), Number]  # threads of a stage; "auto" is one per core
Resamples = Annotated[int, Field(gt=0, le=100_000), Number]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Number]
Dropout = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), Number]
SegmentationLoss = Literal["dice", "dice_cross_entropy"]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Number]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), Number]
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False), Number]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False), Number]


class Section(BaseModel):
    """A section of params.yaml; refuses unknown keys and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
