"""The folder for Hugging Face: its table, its header, its Croissant description, Zenodo's metadata."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from angiosynth.errors import InputError
from angiosynth.exports import huggingface
from angiosynth.exports.base import Card, Contents
from angiosynth.exports.licences import licence_key
from angiosynth.exports.writing import readme_of, write_export
from angiosynth.release.identifiers import Identifiers
from angiosynth.runtime.output import read_json
from angiosynth.settings.texts import line_fault


@pytest.fixture
def export(contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface, "SHARD", 7)
    monkeypatch.setattr(huggingface, "GROUP", 2)
    write_export(huggingface.EXPORT, contents, tmp_path / "hub", Identifiers())
    return tmp_path / "hub"


def rows_of(export: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((export / "data").iterdir()) for row in parquet.read_table(path).to_pylist()]


def test_the_tables_hold_the_pairs_pixel_by_pixel(export: Path, contents: Contents) -> None:
    assert [path.name for path in sorted((export / "data").iterdir())] == ["train-000-of-002.parquet", "train-001-of-002.parquet"]
    rows = rows_of(export)
    assert [row["image"]["path"] for row in rows] == [f"image-000-{number:03d}.png" for number in range(12)]
    for name, patches in (("image", contents.pairs.image), ("label", contents.pairs.label)):
        for row, patch in zip(rows, patches, strict=True):
            picture = np.asarray(Image.open(io.BytesIO(row[name]["bytes"])))
            np.testing.assert_array_equal(np.rot90(picture, -1), patch)
            assert picture[0, 0] == patch[0, -1]  # anterior up, left at the left


def test_columns_are_images_to_the_library(export: Path) -> None:
    metadata = parquet.read_schema(export / "data" / "train-000-of-002.parquet").metadata
    assert json.loads(metadata[b"huggingface"])["info"]["features"] == {"image": {"_type": "Image"}, "label": {"_type": "Image"}}


def test_the_croissant_gives_the_pairs(export: Path, contents: Contents) -> None:
    import mlcroissant  # a second

    described = mlcroissant.Dataset(jsonld=str(export / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    assert not described.metadata.ctx.issues.warnings
    records = list(described.records("pairs"))
    assert len(records) == 12
    np.testing.assert_array_equal(np.rot90(np.asarray(records[3]["pairs/image"]), -1), contents.pairs.image[3])
    np.testing.assert_array_equal(np.rot90(np.asarray(records[3]["pairs/label"]), -1), contents.pairs.label[3])


def test_zenodo_gets_the_facts(export: Path) -> None:
    described = read_json(export / ".zenodo.json")
    assert described["license"] == "cc-by-4.0"
    assert described["creators"] == [{"name": "a lab"}]
    assert described["publication_date"] == "2026-01-31"
    assert "within" in described["description"]


def header_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    loaded: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return loaded


def with_card(contents: Contents, **entries: object) -> Contents:
    return replace(contents, card=Card.model_validate({**contents.facts, **entries}))


def test_the_header_names_licence_and_files(contents: Contents) -> None:
    header = header_of(readme_of(huggingface.EXPORT, contents))
    assert (header["license"], header["pretty_name"]) == ("cc-by-4.0", "demo-1")
    assert header["task_categories"] == ["image-segmentation"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]


@pytest.mark.parametrize(
    ("licence", "entries"),
    [
        ("CC-BY-SA-4.0", {"license": "cc-by-sa-4.0"}),
        ("https://creativecommons.org/publicdomain/zero/1.0/", {"license": "cc0-1.0"}),
        ("https://lab.example/terms", {"license": "other", "license_name": "https://lab.example/terms"}),
        ("as the contract says", {"license": "other", "license_name": "as the contract says"}),
    ],
)
def test_licences(licence: str, entries: dict[str, str], contents: Contents) -> None:
    header = header_of(huggingface.header(with_card(contents, licence=licence)))
    assert entries.items() <= header.items()
    assert ("license_link" in header) == (licence == "https://lab.example/terms")
    assert huggingface.zenodo_of(with_card(contents, licence=licence)).get("license", "other") == entries["license"]


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=40).filter(lambda text: not line_fault(text)))
def test_any_line_of_a_card_stays_a_value_of_the_header(text: str) -> None:
    assert yaml.safe_load(f"x: {json.dumps(text, ensure_ascii=False)}") == {"x": text}
    assert licence_key(text) in {"", text.lower()}


def test_a_name_in_a_picture_keeps_the_export_back(contents: Contents, tmp_path: Path) -> None:
    image = contents.pairs.image.copy()
    image[5, :, 3][:12] = np.frombuffer(b"mueller-jane", np.uint8)  # along x, which is a line of the picture
    spelt = replace(contents, pairs=replace(contents.pairs, image=image))
    with pytest.raises(InputError, match=r"parquet: holds 'mueller-jane'"):
        write_export(huggingface.EXPORT, spelt, tmp_path / "hub", Identifiers(["mueller-jane"]))
