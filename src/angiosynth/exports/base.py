"""Interface of export formats: the contents of a package as input, and the description of a format."""

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
from angiosynth.settings import IntensitySettings, LabelSource
from angiosynth.settings.audit import ReleaseSettings
from angiosynth.settings.texts import LONGEST_REASON, line_fault


def _plain_reason(text: str) -> str:
    if text and (fault := line_fault(text, LONGEST_REASON)):
        raise ValueError(fault)
    return text


class Verdicts(BaseModel):
    """Verdicts of the audit on publishing the set, and on publishing the generator too."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    set: Verdict
    generator: Verdict = "not audited"


class AuditFacts(BaseModel):
    """Results of the audit in a card."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    verdicts: Verdicts


class Card(ReleaseSettings):
    """Validated card.json of a package. The card is untrusted, and its texts are inserted into pages and headers.

    Attributes:
        spacing_mm: voxel size (x, y, z) of the training scans; None in packages of earlier versions.
        labels: source of the labels, see `synthesis.labels`; packages of earlier versions do not name it.
        override: reason why the set was released against its audit; "" if it was not.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    labels: LabelSource = "generator"
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
    """A package after verification of its checksums, unpacked.

    Attributes:
        package: folder of the package.
        card: validated card.
        facts: complete content of card.json.
        pairs: images (n, x, y) uint8, 0..255 for [-1, 1], and labels (n, x, y) uint8, 0 or 1, memory-mapped.
        spacing_mm: voxel size (x, y, z) of the training scans.
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
        name: value of `--to`.
        title: name of the tool that reads the format.
        write: writes the files of the format into an empty folder.
        usage: instructions for the receiver in Markdown, a section of README.md.
        formats: file suffix -> format of the written files, in addition to those of packages.
        header: beginning of README.md; "" for none.
    """

    name: str
    title: str
    write: Callable[[Contents, Path], None]
    usage: Callable[[Contents], str]
    formats: Mapping[str, Format] = field(default_factory=dict)
    header: Callable[[Contents], str] = lambda contents: ""


def pair_name(number: int) -> str:
    """Return the name of a pair by its index: 12 -> "000-012". Longer runs of digits would look like a patient number."""
    return f"{number // 1000:03d}-{number % 1000:03d}"
