"""The champion: compared on the same validation scans alone, never one that was deleted, never drawn heads after a lab's own scans."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from angiosynth.tracking.registry import DRAWN, VALIDATED_ON, register
from angiosynth.tracking.runs import RunSpec, tracking_uri, training_run
from angiosynth.tracking.store import MlflowStore

LAB, OTHER, PHANTOM, OLD = "1" * 16, "2" * 16, "d" * 16, ""


@dataclass
class Model:
    artifact_location: str
    model_id: None = None


class Models:
    """One registered model in a real store; a version is made without the seconds that exporting a network takes."""

    def __init__(self, root: Path, name: str) -> None:
        self.client: Any = MlflowClient(tracking_uri(root))
        self.root, self.name, self.runs = root, name, [""]

    def add(self, dsc: float | None, scans: str = LAB) -> str | None:
        """Train and register one more version; gives the champion then."""
        tags = {VALIDATED_ON: scans, DRAWN: "yes" if scans == PHANTOM else "no"} if scans else {}
        with training_run(RunSpec("unet", "a run", stage="s", settings={}, tags=tags), root=self.root, lineage=False) as run:
            run.final({"test_dsc": 0.99} | ({} if dsc is None else {"val_dsc": dsc}))
        register(self.client, self.name, Model(str(self.root)), run.id, once=False)
        self.runs.append(run.id)
        return self.champion

    @property
    def champion(self) -> str | None:
        champion = self.client.get_registered_model(self.name).aliases.get("champion")
        return None if champion is None else str(champion)

    def purge(self, version: int) -> None:
        """As `mlflow gc` does: the run is not in the database any more."""
        with closing(sqlite3.connect(self.root / "mlruns" / "mlflow.db")) as database, database:
            for table in ("tags", "metrics", "latest_metrics", "params", "runs"):
                database.execute(f"delete from {table} where run_uuid = ?", (self.runs[version],))


@pytest.fixture
def models(root: Path, request: pytest.FixtureRequest) -> Models:
    return Models(root, f"unet-{request.node.name.partition('[')[0][-40:]}")


def test_on_the_same_scans_the_higher_validation_dsc_wins(models: Models) -> None:
    assert [models.add(dsc) for dsc in (None, 0.7, 0.6, 0.7, 0.71)] == [None, "2", "2", "2", "5"]


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        pytest.param(PHANTOM, LAB, True, id="own scans after the demo"),
        pytest.param(OLD, LAB, True, id="after a version of which the scans are not known"),
        pytest.param(LAB, OTHER, True, id="other own scans"),
        pytest.param(LAB, PHANTOM, False, id="the demo after own scans"),
        pytest.param(OLD, PHANTOM, False, id="the demo after scans that are not known"),
        pytest.param(PHANTOM, "e" * 16, True, id="unlike drawn heads"),
        pytest.param(OLD, OLD, True, id="neither is known"),
    ],
)
def test_over_other_scans_no_numbers_are_compared(
    models: Models, before: str, after: str, moves: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the new version's DSC is the lower or the higher one: the new scans decide, and a line says so."""
    models.name += f"-{before[:1]}{after[:1]}"
    models.add(0.909, before)
    for number, dsc in enumerate((0.65, 0.95)):
        capsys.readouterr()
        champion = models.add(dsc, after)
        said = capsys.readouterr().err
        assert champion == (str(number + 2) if moves else "1")
        if number == 0 or not moves or not after:
            assert said.startswith(f"{models.name}: ")
            assert said.count("\n") == 1


def test_back_on_earlier_scans_their_newest_version_leads(models: Models) -> None:
    """What the laboratory trained last is what it works with, however good the version on the other scans was."""
    assert [models.add(0.8, LAB), models.add(0.5, OTHER), models.add(0.7, LAB), models.add(0.9, PHANTOM)] == ["1", "2", "3", "3"]


@pytest.mark.parametrize("how", ["run deleted", "run purged", "version deleted", "alias deleted"])
def test_a_champion_that_was_deleted_is_passed_over(models: Models, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By who reads it and by who trains next: the best version left on the newest scans, not one on others, nor the deleted."""
    models.name += f"-{how.replace(' ', '-')}"
    models.add(0.95, OTHER)
    for dsc in (0.8, 0.7, 0.9):
        models.add(dsc)
    assert models.champion == "4"
    if how == "run deleted":
        models.client.delete_run(models.runs[4])
    elif how == "run purged":
        models.purge(4)
    elif how == "version deleted":
        models.client.delete_model_version(models.name, "4")
    else:
        models.client.delete_registered_model_alias(models.name, "champion")
    behind = MlflowStore(tracking_uri(models.root)).run_behind(f"models:/{models.name}@champion")
    assert behind == models.runs[4 if how == "alias deleted" else 2]
    assert "no champion, or it was deleted" in capsys.readouterr().err
    assert models.add(0.6) == ("4" if how == "alias deleted" else "2")


def test_a_version_set_by_hand_without_a_score_gives_way(models: Models) -> None:
    models.add(None)
    models.client.set_registered_model_alias(models.name, "champion", "1")
    assert models.add(0.3) == "2"
