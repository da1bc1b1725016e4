"""Export as a dataset folder for the Hugging Face hub: Parquet with lossless images, card with YAML header, Croissant, Zenodo metadata.

Nothing is uploaded; the folder is published by its owner.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from angiosynth.exports.base import Contents, Export, pair_name
from angiosynth.exports.licences import licence_key
from angiosynth.release.checksums import write_checksums
from angiosynth.release.croissant import KEYWORDS, VERSION, ImageColumn, croissant_of
from angiosynth.release.formats import Format
from angiosynth.release.package import FORMATS, data_files
from angiosynth.release.signature import SUMS
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import progress

SHARD = 10_000  # pairs in a Parquet file
GROUP = 500  # pairs in a row group, which is held in memory
COLUMNS = (
    ImageColumn("image", "patch of a TOF-MRA slice, 0..255 for -1..1 of the intensity rule"),
    ImageColumn("label", "vessel label of the patch, 0 or 1"),
)
FEATURES = {column.name: {"_type": "Image"} for column in COLUMNS}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
USAGE = Template("""`datasets` of Hugging Face reads this folder, from the disk as well as from the hub:

```python
from datasets import load_dataset

pairs = load_dataset("FOLDER", split="train")
image, label = pairs[0]["image"], pairs[0]["label"]  # greyscale pictures, $size x $size
```

In the pictures anterior is up and the patient's left is left: `numpy.rot90(picture, -1)` gives (x, y) in RAS+ order. Grey levels
0..255 stand for -1..1. croissant.json describes the set for other loaders (Croissant 1.1), .zenodo.json for Zenodo.""")


def write(contents: Contents, folder: Path) -> None:
    """Write data/*.parquet, croissant.json and .zenodo.json."""
    (folder / "data").mkdir()
    starts = range(0, len(contents.pairs), SHARD)
    for number, start in enumerate(starts):
        _write_shard(folder / "data" / f"train-{number:03d}-of-{len(starts):03d}.parquet", contents, start)
    write_checksums(folder)  # temporary checksums of the tables, for their description
    description = croissant_of(contents.facts, data_files(folder, {**FORMATS, **EXPORT.formats}), "data/*.parquet", COLUMNS)
    (folder / SUMS).unlink()
    write_json(folder / "croissant.json", description)
    write_json(folder / ".zenodo.json", zenodo_of(contents))


def usage(contents: Contents) -> str:
    """Instructions for the receiver."""
    return USAGE.substitute(size=contents.card.size)


def header(contents: Contents) -> str:
    """YAML header of the card for the hub and `datasets`. Values are JSON, a subset of YAML."""
    card = contents.card
    key = licence_key(card.licence)
    entries: dict[str, Any] = {
        "pretty_name": card.name,
        "license": key or "other",
        **({} if key else {"license_name": card.licence}),
        **({} if key or "://" not in card.licence else {"license_link": card.licence}),
        "task_categories": ["image-segmentation"],
        "tags": ["medical", *(keyword.replace(" ", "-") for keyword in KEYWORDS)],
        "size_categories": [next((name for most, name in SIZES if card.n < most), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    lines = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in entries.items())
    return f"---\n{lines}---\n\n"


def zenodo_of(contents: Contents) -> dict[str, Any]:
    """Return the content of .zenodo.json, with which Zenodo fills in the form of an upload."""
    card = contents.card
    key = licence_key(card.licence)
    verdict = f"verdict of its privacy audit: {card.audit.verdicts.set}"
    return {
        "title": card.name,
        "upload_type": "dataset",
        "description": f"{card.n} synthetic pairs of a TOF-MRA patch and its vessel label ({card.size}x{card.size}); {verdict}.",
        "creators": [{"name": card.creator}],
        "publication_date": card.date,
        "version": VERSION,
        "keywords": list(KEYWORDS),
        **({"license": key} if key else {"notes": f"Licence: {card.licence}"}),
    }


def _write_shard(path: Path, contents: Contents, start: int) -> None:
    """SHARD pairs from `start` on as a Parquet file; images are compressed already, as PNG."""
    end = min(start + SHARD, len(contents.pairs))
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    # What `datasets` would write itself: without it the columns would be read as dictionaries.
    known = {"huggingface": json.dumps({"info": {"features": FEATURES}}, sort_keys=True)}
    schema = pyarrow.schema([(column.name, picture) for column in COLUMNS], metadata=known)
    groups = range(start, end, GROUP)
    with parquet.ParquetWriter(path, schema, compression="none") as writer:
        for first in progress(groups, f"writing {path.name}", len(groups)):
            rows = range(first, min(first + GROUP, end))
            pictures = {
                "image": [_picture(contents.pairs.image[row], f"image-{pair_name(row)}.png") for row in rows],
                "label": [_picture(contents.pairs.label[row], f"label-{pair_name(row)}.png") for row in rows],
            }
            writer.write_table(pyarrow.table(pictures, schema=schema))


def _picture(patch: NDArray[np.uint8], name: str) -> dict[str, Any]:
    """Encode a patch (x, y) as PNG with anterior at the top."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(patch))).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": name}


def _unpack_tables(content: bytes) -> Iterator[bytes]:
    """Yield a Parquet file, whose metadata are uncompressed, and the pixels of its images, concatenated per row group."""
    yield content
    for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches(batch_size=GROUP):
        for column in batch.columns:
            yield b"\0".join(np.asarray(Image.open(io.BytesIO(cell["bytes"]))).tobytes() for cell in column.to_pylist())


EXPORT = Export(
    "huggingface",
    "Hugging Face datasets",
    write,
    usage,
    {".parquet": Format("application/x-parquet", _unpack_tables)},
    header,
)
