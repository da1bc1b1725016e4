"""Export as a BIDS dataset: one artificial subject per pair, the label as a derivative.

BIDS has no patches, so each pair is a volume of one slice, which its sidecar states. Masks are named as in BIDS derivatives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from angiosynth.data.bids import LABEL, SCAN
from angiosynth.exports.base import Contents, Export
from angiosynth.exports.volumes import unit_range, write_slice
from angiosynth.release.formats import Format
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.tables import write_table

BIDS_VERSION = "1.10.0"
LABELS = Path("derivatives") / "labels"
NO_BIDS = ("card.json", "audit", "SHA256SUMS", "SHA256SUMS.sig")  # files of an export that are not part of BIDS
USAGE = f"""Every pair is a subject of its own, `sub-synthNNNxNNN`. Its image is `anat/*{SCAN}.nii.gz` in [0, 1], a volume of one slice; its
label is `{LABELS.as_posix()}/sub-*/anat/*{LABEL}.nii.gz`, 0 or 1. No two pairs are of one head, whatever their numbers.

```sh
bids-validator-deno .
```"""


def write(contents: Contents, folder: Path) -> None:
    """Write the raw dataset, and the labels as derivatives."""
    subjects = [_subject(number) for number in range(len(contents.pairs))]
    for subject, image, label in progress(
        zip(subjects, contents.pairs.image, contents.pairs.label, strict=True), "writing subjects", len(subjects)
    ):
        for root, name, patch in (
            (folder, f"{subject}{SCAN}.nii.gz", unit_range(image)),
            (folder / LABELS, f"{subject}{LABEL}.nii.gz", label),
        ):
            place = root / subject / "anat"
            place.mkdir(parents=True)
            write_slice(place / name, patch, contents.spacing_mm)
    _describe(contents, folder, subjects)


def _subject(number: int) -> str:
    """Name of a subject, with letters between the digits, because longer runs of digits would look like a patient number."""
    return f"sub-synth{number // 1000:03d}x{number % 1000:03d}"


def _describe(contents: Contents, folder: Path, subjects: list[str]) -> None:
    """Write the top-level files: descriptions, participants, one sidecar for all images and one for all labels."""
    card = contents.card
    about: dict[str, Any] = {
        "BIDSVersion": BIDS_VERSION,
        "Name": card.name,
        "License": card.licence,
        "Authors": [card.creator],
        **({"ReferencesAndLinks": [card.url]} if card.url else {}),
    }
    maker = [{"Name": "angiosynth", "Description": f"synthetic pairs, drawn by {card.model}"}]
    write_json(folder / "dataset_description.json", {**about, "DatasetType": "raw", "GeneratedBy": maker})
    write_json(folder / LABELS / "dataset_description.json", {**about, "DatasetType": "derivative", "GeneratedBy": maker})
    with (folder / "participants.tsv").open("w", newline="", encoding="utf-8") as stream:
        write_table(stream, ("participant_id",), [(subject,) for subject in subjects], delimiter="\t")
    rule = card.intensity
    scale = f"percentiles {rule.low:g} and {rule.high:g} inside the brain are 0 and 1 (rule {rule.rule})"
    write_json(
        folder / f"{SCAN[1:]}.json", {"Modality": "MR", "Description": f"synthetic patch of an axial TOF-MRA slice, one slice; {scale}"}
    )
    write_json(folder / LABELS / f"{LABEL[1:]}.json", {"Type": "ROI", "RawSources": [], "SpatialReference": "orig"})
    (folder / ".bidsignore").write_text("".join(f"{name}\n" for name in NO_BIDS), encoding="utf-8")


EXPORT = Export(
    "bids",
    "BIDS",
    write,
    lambda contents: USAGE,
    {".tsv": Format("text/tab-separated-values", text=True), ".bidsignore": Format("text/plain", text=True)},
)
