"""The U-nets on few of the source's patients: a table that `summary` reads, empty where no number is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.patches import PatchSet, create_patch_arrays, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.evaluation.patients import read_transfer
from angiosynth.project.resuming import TrainingInputs
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import write_json
from angiosynth.segmentation.training import TrainedUnet, train_segmenter
from angiosynth.settings import UnetSettings, WorthSettings
from angiosynth.stages import transfer
from angiosynth.stages.worth import worth
from tests.stages.conftest import SETTINGS

TABLE = Path("metrics") / "worth" / "real.csv"
FEW = SETTINGS.model_copy(update={"worth": WorthSettings(patients=(1,), subsets=2)})


def test_subsets_of_the_source_are_trained_and_scored_on_its_test_patients(home: Workspace) -> None:
    worth(FEW, home, "real")
    rows, split = read_transfer(TABLE), load_split(home.splits, "site-a")
    assert {row.patient for row in rows} == set(split.test)
    assert {row.site for row in rows} == {"site-a"}
    trained = {row.subset: row.trained_on.split() for row in rows}
    assert sorted(trained) == [0, 1]
    assert all(len(names) == 1 and set(names) < set(split.train) for names in trained.values())
    assert trained[0] != trained[1]
    assert not Path(".work", "worth-site-a").exists() or not list(Path(".work", "worth-site-a").iterdir())
    before = TABLE.read_bytes()
    worth(FEW, home, "real")
    assert TABLE.read_bytes() == before


def test_no_number_is_an_empty_table(home: Workspace) -> None:
    worth(SETTINGS.model_copy(update={"worth": WorthSettings()}), home, "real")
    assert read_transfer(TABLE) == []


def _draw_set(home: Workspace, name: str) -> None:
    """A synthetic set of three pairs: patches of the source, turned."""
    source = open_patch_set(home.patches("site-a"))
    image, label = create_patch_arrays(home.synthetic(name), 3, source.size)
    image[:], label[:] = np.rot90(source.image[:3], axes=(1, 2)), np.rot90(source.label[:3], len(name), axes=(1, 2))
    write_json(home.synthetic(name) / "card.json", {"intensity": source.meta["intensity"]})


def test_a_set_is_joined_with_the_same_subsets(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _draw_set(home, "wgan-gp")
    worth(FEW, home, "wgan-gp")
    table = TABLE.with_name("wgan-gp.csv")
    assert read_transfer(table) == []  # not asked for
    together = FEW.model_copy(update={"worth": WorthSettings(patients=(1,), subsets=2, together=True)})
    trained: list[PatchSet] = []

    def noted(settings: UnetSettings, patches: PatchSet, *more: Any) -> TrainedUnet:
        trained.append(patches)
        return train_segmenter(settings, patches, *more)

    monkeypatch.setattr(transfer, "train_segmenter", noted)
    for data in ("real", "wgan-gp"):
        worth(together, home, data)
    alone, joint = read_transfer(TABLE), read_transfer(table)
    assert [(row.subset, row.trained_on, row.patient) for row in joint] == [(row.subset, row.trained_on, row.patient) for row in alone]
    synthetic = len(open_patch_set(home.synthetic("wgan-gp")))
    for few, both in zip(trained[:2], trained[2:], strict=True):
        drawn = both.patient[both.rows]
        assert np.count_nonzero(drawn == "") == np.count_nonzero(drawn != "") == max(len(few), synthetic)
        assert set(drawn) == {"", *few.patient[few.rows]}


def test_another_set_is_another_training(home: Workspace) -> None:
    for name in ("wgan-gp", "dcgan"):
        _draw_set(home, name)
    files = TrainingInputs({}, home.patches("site-a"), load_split(home.splits, "site-a"), ())
    assert len({replace(files, joined=folder).key() for folder in (None, home.synthetic("wgan-gp"), home.synthetic("dcgan"))}) == 3
