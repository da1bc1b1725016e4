"""Read a package for an export: verify checksums, then read card and pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from angiosynth.arrays import SpacingMm
from angiosynth.data.geometry import LEAST_SPACING_MM, MOST_SPACING_MM
from angiosynth.errors import InputError
from angiosynth.exports.base import Card, Contents
from angiosynth.release.package import open_package

AGAIN = "get the package again"


def open_contents(package: Path, trusted: Path | None, scratch: Path, spacing_mm: SpacingMm | None = None) -> tuple[Contents, str]:
    """Verify the checksums of a package and unpack it.

    Args:
        package: folder made by `release`.
        trusted: public key of the sender; without it unsigned packages are accepted.
        scratch: folder for the unpacked arrays.
        spacing_mm: voxel size (x, y, z) for packages without one in the card.

    Returns:
        The contents, and a message that states the passed checks.

    Raises:
        InputError: the package is incomplete, modified, or not signed by the trusted key; its card is invalid; or its voxel size is missing
            without `spacing_mm`, or differs from it.
    """
    pairs, _, checked = open_package(package, trusted, scratch)
    card = _card_of(package, pairs.meta)
    if (card.n, card.size) != (len(pairs), pairs.size):
        raise InputError(f"{package / 'card.json'}: tells of {card.n} pairs of {card.size}, patches.npz holds others; {AGAIN}")
    return Contents(package, card, pairs.meta, pairs, _spacing_of(package, card, spacing_mm)), checked


def _card_of(package: Path, facts: dict[str, Any]) -> Card:
    try:
        return Card.model_validate(facts)
    except ValidationError as error:
        entry = ".".join(str(key) for key in error.errors()[0]["loc"])
        raise InputError(f"{package / 'card.json'}: its entry {entry} is missing or unusable; {AGAIN}") from error


def _spacing_of(package: Path, card: Card, given: SpacingMm | None) -> SpacingMm:
    if card.spacing_mm is None and given is None:
        raise InputError(f"{package / 'card.json'}: has no voxel size, as of older versions; name it, slices last: --spacing-mm X Y Z")
    if given is not None and card.spacing_mm not in (None, given):
        raise InputError(f"{package / 'card.json'}: has the voxel size {card.spacing_mm} mm; leave out --spacing-mm")
    if given is not None and not all(LEAST_SPACING_MM <= length <= MOST_SPACING_MM for length in given):
        raise InputError(f"--spacing-mm {' '.join(f'{length:g}' for length in given)}: no voxel of a head; name it in millimetres")
    spacing = card.spacing_mm or given
    assert spacing is not None
    return spacing
