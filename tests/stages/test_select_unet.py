"""The choice of the U-net's settings: on validation patients, once, and known to every U-net."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.project import workspace
from angiosynth.project.workspace import CHOSEN, Workspace, chosen_settings
from angiosynth.runtime.output import read_json, write_json
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.settings import SelectionSettings, Settings, UnetSettings
from angiosynth.stages import train_unet as unet_stage
from angiosynth.stages.select_unet import grid_of, select_unet
from tests.factories import lab_settings
from tests.stages.conftest import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


class Interrupted(Exception):  # noqa: N818 -- stands for a kill
    """The stage stops here."""


def _settings(**lists: list[Any]) -> Settings:
    return lab_settings(selection=lists)


GRID = _settings(learning_rate=[1e-3, 5e-3], augmentation=[True, False])


def _counted(monkeypatch: pytest.MonkeyPatch, stop_at: int = 0, scores: list[tuple[float, float]] | None = None) -> list[UnetSettings]:
    """Notes every training's settings; the scores, where given, stand for those of validation."""
    fit, seen = unet_stage.fit_unet, list[UnetSettings]()

    def fit_unet(settings: Settings, home: Workspace, data: str, recorder: Any, folder: Path, *rest: Any) -> TrainedUnet:
        assert data == "real"
        seen.append(settings.unet)
        if len(seen) == stop_at:
            raise Interrupted
        trained = fit(settings, home, data, recorder, folder, *rest)
        if scores:
            given = dict(zip(("val_dsc", "val_hd95_mm"), scores[len(seen) - 1], strict=True))
            write_json(folder / "unet.json", {**read_json(folder / "unet.json"), **given})
        return trained

    monkeypatch.setattr(unet_stage, "fit_unet", fit_unet)
    return seen


def test_the_grid_is_every_combination() -> None:
    unet = UnetSettings(steps=5, learning_rate=0.5, dropout=0.25, seeds=3)
    points = grid_of(SelectionSettings(learning_rate=(1e-4, 8e-5), augmentation=(False, True)), unet)
    assert [(point.learning_rate, point.dropout, point.augmentation) for point in points] == [
        (1e-4, 0.25, False),
        (1e-4, 0.25, True),
        (8e-5, 0.25, False),
        (8e-5, 0.25, True),
    ]
    assert {point.seeds for point in points} == {1}
    assert grid_of(SelectionSettings(), unet) == [unet.model_copy(update={"seeds": 1})]


def test_without_a_grid_the_settings_are_the_unets_own_and_nothing_is_trained(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _counted(monkeypatch)
    select_unet(_settings(dropout=[0.5]), home)
    own = SETTINGS.unet
    choice = {"learning_rate": own.learning_rate, "dropout": 0.5, "augmentation": own.augmentation}
    assert read_json(home.unet_choice) == {**choice, "points": []}
    assert seen == []


def test_the_choice_is_the_best_on_validation_patients(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in load_split(home.splits, "site-a").test:
        shutil.rmtree(Path("lab", "a", name))  # none of them is needed
    read: set[str] = set()

    def noted(*parts: Any) -> Scan:
        read.add((scan := load_scan(*parts)).patient)
        return scan

    monkeypatch.setattr(workspace, "load_scan", noted)
    seen = _counted(monkeypatch, scores=[(0.5, 1.0), (0.7, 9.0), (0.7, 3.0), (0.6, 1.0)])  # a tie goes to the lower distance
    select_unet(GRID, home)
    assert len(seen) == 4
    assert read == set(load_split(home.splits, "site-a").validation)
    result = read_json(home.unet_choice)
    assert {name: result[name] for name in CHOSEN} == {"learning_rate": 5e-3, "dropout": 0.0, "augmentation": True}
    assert [point["val_dsc"] for point in result["points"]] == [0.5, 0.7, 0.7, 0.6]
    chosen = chosen_settings(GRID, home)
    assert (chosen.unet.learning_rate, chosen.unet.steps) == (5e-3, GRID.unet.steps)
    assert chosen.transfer == GRID.transfer
    assert not list(Path(".work", "select-unet").rglob("*.json"))


def test_a_selection_that_was_stopped_redoes_what_is_missing(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    select_unet(GRID, home)
    undisturbed = home.unet_choice.read_bytes()
    home.unet_choice.unlink()
    seen = _counted(monkeypatch, stop_at=3)
    with pytest.raises(Interrupted):
        select_unet(GRID, home)
    assert not home.unet_choice.exists()
    select_unet(GRID, home)
    assert [(unet.learning_rate, unet.augmentation) for unet in seen] == [
        (1e-3, True),
        (1e-3, False),
        (5e-3, True),
        (5e-3, True),
        (5e-3, False),
    ]
    assert home.unet_choice.read_bytes() == undisturbed


def test_a_grid_needs_validation_patients(home: Workspace) -> None:
    write_json(home.splits / "site-a.json", read_json(home.splits / "site-a.json") | {"validation": []})
    with pytest.raises(InputError, match=r"site-a\.json: no validation patients to choose by") as caught:
        select_unet(GRID, home)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("choice", [{}, {"learning_rate": 1e-3, "dropout": 2.0, "augmentation": True}, []])
def test_a_damaged_choice_is_one_line(home: Workspace, choice: Any) -> None:
    write_json(home.unet_choice, choice)
    with pytest.raises(InputError, match=r"unet-choice\.json: damaged; run `dvc repro select-unet`") as caught:
        unet_stage.train_unet(SETTINGS, home, "real")
    assert "\n" not in str(caught.value)


def test_dvc_knows_what_the_choice_depends_on_and_who_depends_on_it() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    named = {name.removeprefix("unet.") for name in stages["select-unet"]["params"] if name.startswith("unet.")}
    assert named == set(UnetSettings.model_fields) - {"seeds"}  # more seeds of the chosen settings ask for no other choice
    assert {"models/unet-choice.json": list(CHOSEN)} in stages["train-unet"]["params"]
    assert stages["train-unet-synthetic"]["do"]["params"] == stages["train-unet"]["params"]
    assert {"models/unet-choice.json": ["dropout"]} in stages["transfer"]["params"]
    assert stages["transfer-synthetic"]["do"]["params"] == stages["transfer-real"]["params"] == stages["transfer"]["params"]
