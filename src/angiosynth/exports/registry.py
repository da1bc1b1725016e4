"""Registry of export formats. A new format is a module next to this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from angiosynth.exports import bids, huggingface, medigan, monai, nnunet
from angiosynth.exports.base import Export

EXPORTS: Mapping[str, Export] = {
    export.name: export for export in (nnunet.EXPORT, huggingface.EXPORT, bids.EXPORT, monai.EXPORT, medigan.EXPORT)
}
