"""The BIDS data set: names, sidecars, and that this project reads it as a site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.nifti import load_mask, read_volume
from angiosynth.exports import bids
from angiosynth.exports.base import Contents
from angiosynth.exports.writing import write_export
from angiosynth.release.identifiers import Identifiers
from angiosynth.runtime.output import read_json


@pytest.fixture
def export(contents: Contents, tmp_path: Path) -> Path:
    write_export(bids.EXPORT, contents, tmp_path / "bids", Identifiers())
    return tmp_path / "bids"


def test_every_pair_is_a_subject_with_its_label(export: Path, contents: Contents) -> None:
    patients = find_patients(export)
    assert [patient.id for patient in patients] == [f"sub-synth000x{number:03d}" for number in range(12)]
    for number in (0, 11):
        image, label = patients[number].image, patients[number].label
        assert label is not None
        volume = read_volume(image)
        np.testing.assert_allclose(volume.spacing_mm, (0.312, 0.312, 0.6), rtol=1e-6)
        np.testing.assert_array_equal(np.rint(volume.array[:, :, 0] * 255), contents.pairs.image[number])
        np.testing.assert_array_equal(load_mask(label).volume.array[:, :, 0], contents.pairs.label[number] > 0)


def test_descriptions_say_what_it_is(export: Path) -> None:
    for folder, kind in ((export, "raw"), (export / "derivatives" / "labels", "derivative")):
        described = read_json(folder / "dataset_description.json")
        assert (described["DatasetType"], described["Name"], described["Authors"]) == (kind, "demo-1", ["a lab"])
    assert (export / "participants.tsv").read_text().splitlines()[:2] == ["participant_id", "sub-synth000x000"]
    assert "percentiles 0.5 and 99.9" in read_json(export / "angio.json")["Description"]


def test_what_bids_does_not_know_is_named(export: Path) -> None:
    known = {"derivatives", "participants.tsv", "dataset_description.json", "angio.json", "README.md", ".bidsignore"}
    rest = {path.name for path in export.iterdir() if not path.name.startswith("sub-")} - known
    assert rest <= set((export / ".bidsignore").read_text().split())
