"""The U-nets on few of the source's patients: a table that `summary` reads, empty where no number is named."""

from __future__ import annotations

from pathlib import Path

from angiosynth.data.split import load_split
from angiosynth.evaluation.patients import read_transfer
from angiosynth.project.workspace import Workspace
from angiosynth.settings import WorthSettings
from angiosynth.stages.worth import worth
from tests.stages.conftest import SETTINGS

TABLE = Path("metrics") / "worth.csv"


def test_subsets_of_the_source_are_trained_and_scored_on_its_test_patients(home: Workspace) -> None:
    settings = SETTINGS.model_copy(update={"worth": WorthSettings(patients=(1,), subsets=2)})
    worth(settings, home)
    rows, split = read_transfer(TABLE), load_split(home.splits, "site-a")
    assert {row.patient for row in rows} == set(split.test)
    assert {row.site for row in rows} == {"site-a"}
    trained = {row.subset: row.trained_on.split() for row in rows}
    assert sorted(trained) == [0, 1]
    assert all(len(names) == 1 and set(names) < set(split.train) for names in trained.values())
    assert trained[0] != trained[1]
    assert not Path(".work", "worth-site-a").exists() or not list(Path(".work", "worth-site-a").iterdir())
    before = TABLE.read_bytes()
    worth(settings, home)
    assert TABLE.read_bytes() == before


def test_no_number_is_an_empty_table(home: Workspace) -> None:
    worth(SETTINGS.model_copy(update={"worth": WorthSettings()}), home)
    assert read_transfer(TABLE) == []
