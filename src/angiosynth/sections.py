"""Types of the values in params.yaml.

Every number is finite, whole ones have an upper bound: values beyond would end in a traceback, or in a training without an end,
after the stages before it have run for hours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOST = 10_000_000  # steps, patches, pairs
LARGEST = 1e6  # weights, spacings, deviations; float32 squares it without overflow
LARGEST_SEED = 2**32 - 1  # the largest that every random generator in use takes


def _no_truth_value(value: Any) -> Any:
    """YAML's `yes` and `on` are true, which Python takes for 1."""
    if isinstance(value, bool):
        raise ValueError("is true or false, a number is needed")
    return value


def _printable(text: str) -> str:
    """Refuse control characters and halves of surrogate pairs: no path or line of text can hold them."""
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
Threads = Literal["auto"] | Annotated[int, Field(gt=0, le=1024), Number]  # of a stage; "auto" for one a core
Resamples = Annotated[int, Field(gt=0, le=100_000), Number]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Number]
Dropout = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), Number]
SegmentationLoss = Literal["dice", "dice_cross_entropy"]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Number]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), Number]
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False), Number]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False), Number]


class Section(BaseModel):
    """A part of params.yaml: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
