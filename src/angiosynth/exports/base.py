"""What every export format is handed, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from angiosynth.arrays import SpacingMm
from angiosynth.data.patches import PatchSet
from angiosynth.privacy.verdict import Verdict
from angiosynth.release.formats import Format
from angiosynth.sections import Positive, PositiveFloat
from angiosynth.settings import IntensitySettings
from angiosynth.settings.audit import ReleaseSettings
from angiosynth.settings.texts import LONGEST_REASON, line_fault


def _plain_reason(text: str) -> str:
    if text and (fault := line_fault(text, LONGEST_REASON)):
        raise ValueError(fault)
    return text


class Verdicts(BaseModel):
    """The audit's verdicts on who holds the set, the generator, the critic."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    set: Verdict
    generator: Verdict = "not audited"


class AuditFacts(BaseModel):
    """The part of a card that the audit gave."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    verdicts: Verdicts


class Card(ReleaseSettings):
    """card.json of a package, checked: it may come from somebody else, and its texts go into pages and headers.

    Attributes:
        spacing_mm: voxel size of the training scans (x, y, z), None in packages of versions that did not keep it.
        override: why the set was released against its audit, "" where it was not.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    n: Positive
    size: Positive
    intensity: IntensitySettings
    patients_trained_on: Positive
    set_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{1,128}$")]
    audit: AuditFacts
    override: Annotated[str, AfterValidator(_plain_reason)] = ""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None


@dataclass(frozen=True)
class Contents:
    """A package that agrees with its checksums, unpacked.

    Attributes:
        package: its folder.
        card: its card, checked.
        facts: the whole of card.json.
        pairs: images (n, x, y) uint8, 0..255 for [-1, 1], and labels (n, x, y) uint8, 0 or 1, memory-mapped.
        spacing_mm: voxel size (x, y, z) of the scans that the set was learnt from.
    """

    package: Path
    card: Card
    facts: Mapping[str, Any]
    pairs: PatchSet
    spacing_mm: SpacingMm


@dataclass(frozen=True)
class Export:
    """An export format.

    Attributes:
        name: as `--to` takes it.
        title: of the tool that reads it.
        write: writes the format's files into an empty folder.
        usage: how the receiver uses them, in Markdown, a section of README.md.
        formats: of the files that it writes, by the end of their names; those of a package are known already.
        header: what README.md begins with; "" for none.
    """

    name: str
    title: str
    write: Callable[[Contents, Path], None]
    usage: Callable[[Contents], str]
    formats: Mapping[str, Format] = field(default_factory=dict)
    header: Callable[[Contents], str] = lambda contents: ""


def pair_name(number: int) -> str:
    """The name of a pair, by its place in the set: 12 -> "000-012". Longer runs of digits would look like a patient's number."""
    return f"{number // 1000:03d}-{number % 1000:03d}"
