"""What is recorded, here and at a server, names no patient, no folder of this machine, no user and no host."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.data.bids import PATIENT_NAME
from angiosynth.data.split import load_split
from angiosynth.project.workspace import data_digest, patients_digest
from angiosynth.tracking.lineage import names_someone, portable
from angiosynth.tracking.outbox import Outbox
from angiosynth.tracking.run import DataSource, Run, StoreError
from tests.factories import tiny_patches

ROOT = Path("/home/anna/vessels")
# Columns of MLflow's own database in which it keeps where its files lie: a database on this disk must know that of this disk.
LOCATIONS = {"artifact_location", "artifact_uri", "source", "storage_location"}


# Neighbours: paths alone, within a text, quoted, after a key, in a URI, at a home, with what looks like one and is none.
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/anna/vessels/data/patches/site-a", "data/patches/site-a"),
        ("/mnt/clinic/scans", "scans"),
        ("data/raw/site-a", "data/raw/site-a"),
        ("cannot read /home/anna/vessels/data/x.npy", "cannot read data/x.npy"),
        ("cannot read '/mnt/clinic/scans/x.nii.gz': gone", "cannot read 'x.nii.gz': gone"),
        ("file=/mnt/clinic/x.npy,/srv/y/z", "file=x.npy,z"),
        ("at:/mnt/clinic/x.npy", "at:x.npy"),
        ("file:///mnt/clinic/x.npy", "x.npy"),
        ("sqlite:////mnt/clinic/x.db", "x.db"),
        ("~/clinic/x and ~bob/clinic/y", "x and y"),
        ('["/mnt/clinic/x"]', '["x"]'),
        ("sub-01", "sub-*"),
        ("sub-01_angio.nii.gz: damaged", "sub-*_angio.nii.gz: damaged"),
        ("data/raw/site-a/sub-Mueller/anat", "data/raw/site-a/sub-*/anat"),
        ("/mnt/clinic/sub-007", "sub-*"),
        ('["sub-01", "sub-02"]', '["sub-*", "sub-*"]'),
        ("patient=sub-ANNA1", "patient=sub-*"),
        ("https://host.example/a/b/c", "https://host.example/a/b/c"),
        ("models:/unet-real/1", "models:/unet-real/1"),
        ("runs:/0123/unet", "runs:/0123/unet"),
        ("0.5 / 0.7", "0.5 / 0.7"),
        ("mm/s and/or", "mm/s and/or"),
        ("transfer wgan-gp-sn, lsub-01 sub", "transfer wgan-gp-sn, lsub-01 sub"),
    ],
)
def test_a_text_loses_who_and_where_and_nothing_else(monkeypatch: pytest.MonkeyPatch, text: str, kept: str) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert portable(text, ROOT) == kept


AROUND = ["{}", "a {} b", "x/{}/y", "'{}'", "({})", "[{},{}]", "{}_angio", "{}:{}"]


@given(st.from_regex(PATIENT_NAME, fullmatch=True), st.sampled_from(AROUND))
def test_every_patients_name_is_lost(name: str, around: str) -> None:
    text = around.format(name, name)
    assert name not in portable(text, ROOT)
    assert names_someone(text, ROOT)


class _Away:
    """A server that never answers, so that all it should get lies in the outbox."""

    def open(self) -> None:
        raise StoreError("connection refused")


# Neighbours: tags, settings on every level, data; artifacts of text that name a patient, the project or a home; one that names none.
def test_what_waits_for_a_server_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outbox = Outbox(tmp_path, _Away().open, away=True)  # type: ignore[arg-type]
    run = Run(outbox, outbox.id, tmp_path)
    settings = {"cohort": {"train": ["sub-01", "sub-02"], "path": str(tmp_path / "data"), "other": {"x": Path("/mnt/clinic/scans")}}}
    run.describe(settings, DataSource("patches-sub-01", "0" * 16, str(tmp_path / "data" / "patches"), 4))
    run.tag("note", f"sub-03 of {tmp_path}/data, /mnt/clinic/x")
    texts = {
        "patient.csv": "sub-01,0.5",
        "folder.json": json.dumps(f"{tmp_path}/data"),
        "home.html": os.path.expanduser("~/x"),
        "fine.csv": "1",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        run.artifact(tmp_path / name)
    outbox.settle(tmp_path / "lineage" / "train.json")
    run.end("FINISHED", "")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "mlruns").rglob("*") if path.is_file())
    assert b"sub-0" not in kept
    assert b"clinic" not in kept
    assert str(tmp_path).encode() not in kept
    assert sorted(path.name for path in (tmp_path / "mlruns").rglob("*.*") if path.name in texts) == ["fine.csv"]
    assert capsys.readouterr().err.count("names a patient or a folder of this machine, and stays here") == 3


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        yield path.name, path.read_bytes()
        if zipfile.is_zipfile(path):  # weights and programs
            with zipfile.ZipFile(path) as packed:
                yield from ((f"{path.name}/{name}", packed.read(name)) for name in packed.namelist())


def _rows(database: Path) -> Iterator[tuple[str, str]]:
    """Table and text of every cell but those of LOCATIONS."""
    with closing(sqlite3.connect(database)) as connection:
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            found = connection.execute(f'select * from "{table}"')
            names = [column[0] for column in found.description]
            yield from ((table, str(cell)) for row in found for name, cell in zip(names, row, strict=True) if name not in LOCATIONS)


@pytest.mark.slow
def test_a_whole_pipelines_record_names_nobody(reproduced: Path) -> None:
    """Runs, their settings, tags, inputs, models and files; and what lies beside weights, which a release or a server may take along."""
    splits = [load_split(reproduced / "splits", site) for site in ("site-a", "site-b")]
    patients = {name for split in splits for name in (*split.train, *split.validation, *split.test)}
    assert len(patients) >= 4
    words = {*patients, str(reproduced.resolve()), os.path.expanduser("~/"), "site-packages"}
    words |= {name for name in (getpass.getuser(), platform.node()) if len(name) > 5}  # shorter ones are in too many words
    cells = list(_rows(reproduced / "mlruns" / "mlflow.db"))
    assert {"params", "tags", "datasets", "logged_models"} <= {table for table, _ in cells}
    assert {(table, cell) for table, cell in cells for word in words if word in cell} == set()
    folders = [reproduced / name for name in ("mlruns/artifacts", "lineage", "models", "data/synthetic", "audit")]
    files = [file for folder in folders for file in _contents(folder)]
    assert {"MLmodel", "unet.json", "generator.json", "card.json"} <= {name for name, _ in files}
    assert any(name.endswith("models/model.json") for name, _ in files), "an exported program"
    assert {(name, word) for name, content in files for word in words if word.encode() in content} == set()


def test_patients_are_compared_by_what_cannot_be_guessed(tmp_path: Path) -> None:
    """The same on two machines, another with other patients or other patches; not what names and the patches' recorded digest give."""
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        folder.mkdir()
        patches = tiny_patches(seed=seed)
        np.save(folder / "image.npy", patches.image)
        np.save(folder / "label.npy", patches.label)
    one, same, other = (patients_digest(folder, ["sub-01", "sub-02"]) for folder in folders)
    assert one == same
    assert len({one, other, patients_digest(folders[0], ["sub-01"]), patients_digest(folders[0], []), data_digest(folders[0])}) == 5
    salt = data_digest(folders[0])  # which is recorded too
    guesses = [f"{first}{joint}".encode() for first in ("", salt, bytes.fromhex(salt).hex()) for joint in ("patients\nsub-01\nsub-02",)]
    assert one not in {hashlib.sha256(guess).hexdigest()[:16] for guess in guesses}
