"""Description of a dataset in Croissant 1.1 (MLCommons), built and validated by the library mlcroissant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CONFORMS = "http://mlcommons.org/croissant/1.1"
VERSION = "1.0.0"  # of the dataset; released datasets are never changed
KEYWORDS = ("TOF-MRA", "vessel segmentation", "synthetic")


@dataclass(frozen=True)
class DataFile:
    """A file of a dataset, for its description."""

    sha256: str
    size: int  # bytes
    media_type: str


@dataclass(frozen=True)
class ImageColumn:
    """A column of images in Parquet files, stored as dictionaries with the encoded image under `bytes`."""

    name: str
    description: str


def croissant_of(
    card: Mapping[str, Any], files: Mapping[str, DataFile], tables: str = "", columns: Sequence[ImageColumn] = ()
) -> dict[str, Any]:
    """Return the content of croissant.json: description of a dataset, with one file object per file.

    Args:
        card: content of card.json.
        files: data files by name.
        tables: name pattern of Parquet files whose rows are the pairs; "" if there are none.
        columns: columns of these files.

    Raises:
        mlcroissant.ValidationError: the description is invalid.
    """
    import mlcroissant as mlc  # takes a second, because it imports rdflib and pandas

    context = mlc.Context(conforms_to=type(mlc.Context().conforms_to)(CONFORMS), is_live_dataset=False)
    shared = {"ctx": context}
    distribution: list[Any] = [
        mlc.FileObject(
            **shared,
            id=name,
            name=name,
            content_url=name,
            content_size=f"{file.size} B",
            encoding_formats=[file.media_type],
            sha256=file.sha256,
        )
        for name, file in sorted(files.items())
    ]
    record_sets = []
    if tables:
        distribution.append(
            mlc.FileSet(**shared, id="tables", name="tables", includes=[tables], encoding_formats=["application/x-parquet"])
        )
        record_sets.append(mlc.RecordSet(**shared, id="pairs", name="pairs", fields=[_field(mlc, shared, column) for column in columns]))
    metadata = mlc.Metadata(
        **shared,
        name=card["name"],
        description=f"{card['n']} synthetic pairs of a TOF-MRA patch and its vessel label ({card['size']}x{card['size']}).",
        cite_as=f"{card['creator']} ({card['date'][:4]}): {card['name']}, synthetic TOF-MRA patches with vessel labels",
        license=[card["licence"]],
        creators=[mlc.Organization(**shared, name=card["creator"])],
        url=card["url"] or None,
        date_published=datetime.fromisoformat(card["date"]),
        version=VERSION,
        keywords=list(KEYWORDS),
        distribution=distribution,
        record_sets=record_sets,
    )
    description: dict[str, Any] = metadata.to_json()
    return description


def _field(mlc: Any, shared: dict[str, Any], column: ImageColumn) -> Any:
    source = mlc.Source(
        **shared,
        file_set="tables",
        extract=mlc.Extract(**shared, column=column.name),
        transforms=[mlc.Transform(**shared, json_path="bytes")],
    )
    return mlc.Field(
        **shared,
        id=f"pairs/{column.name}",
        name=column.name,
        description=column.description,
        data_types=[mlc.DataType.IMAGE_OBJECT],
        source=source,
    )
