"""The second site: the grid of trainings, and that a killed stage redoes only what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import read_transfer
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import read_json, write_json
from angiosynth.segmentation import training
from angiosynth.segmentation.unet import Unet, build_unet
from angiosynth.stages import transfer as stage
from angiosynth.stages.train_unet import fit_unet
from angiosynth.stages.transfer import transfer
from tests.factories import lab_settings, tiny_settings
from tests.stages.conftest import SETTINGS


class Interrupted(Exception):  # noqa: N818 -- stands for a kill
    """The stage stops here."""


def _table(start: str) -> Path:
    return Path("metrics") / "transfer" / f"{start}.csv"


def test_the_grid_is_trained_and_scored_on_test_patients(home: Workspace) -> None:
    transfer(SETTINGS, home, "scratch")
    rows = read_transfer(_table("scratch"))
    split = load_split(home.splits, "site-b")
    assert [(row.start, row.n_patients, row.subset) for row in rows] == [("scratch", 1, 0), ("scratch", 2, 0)]
    assert {row.patient for row in rows} == set(split.test)
    assert set(rows[0].trained_on.split()) < set(rows[1].trained_on.split()) == set(split.train)
    assert not Path(".work", "transfer-scratch").exists() or not list(Path(".work", "transfer-scratch").iterdir())


def _subset(arguments: tuple[Any, ...]) -> str:
    """The subset's name, which ends the title that `train_segmenter` is given."""
    return str(arguments[4]).split()[-1]


def _stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Notes the trainings; the one at this place is stopped in its middle, after it has trained and before it is scored."""
    train, trained = training.train_segmenter, list[str]()

    def counted(*parts: Any) -> Any:
        trained.append(_subset(parts))
        done = train(*parts)
        if len(trained) == at:
            raise Interrupted
        return done

    monkeypatch.setattr(stage, "train_segmenter", counted)
    return trained


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_stage_that_was_stopped_goes_on(
    home: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: int
) -> None:
    settings = lab_settings(transfer__patients=[1, 2], transfer__subsets=2)
    transfer(settings, home, "scratch")
    undisturbed = _table("scratch").read_bytes()
    _table("scratch").unlink()
    trained = _stopping(monkeypatch, at)
    with pytest.raises(Interrupted):
        transfer(settings, home, "scratch")
    assert not _table("scratch").exists()
    capsys.readouterr()
    transfer(settings, home, "scratch")
    names = ["1-patients-0", "1-patients-1", "2-patients-0"]  # both patients make one subset
    assert trained == names[:at] + names[at - 1 :]
    assert capsys.readouterr().err.count("is there already") == at - 1
    assert _table("scratch").read_bytes() == undisturbed


def test_what_other_test_patients_left_is_not_used(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = _stopping(monkeypatch, 2)
    with pytest.raises(Interrupted):
        transfer(SETTINGS, home, "scratch")
    split = read_json(home.splits / "site-b.json")
    write_json(home.splits / "site-b.json", split | {"test": split["validation"], "validation": split["test"]})
    transfer(SETTINGS, home, "scratch")
    assert trained == ["1-patients-0", "2-patients-0"] * 2
    assert {row.patient for row in read_transfer(_table("scratch"))} == set(split["validation"])


def test_from_scratch_has_the_chosen_dropout(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(home.unet_choice, read_json(home.unet_choice) | {"dropout": 0.25})
    begun: list[float] = []

    def noted(width: int, dropout: float, seed: int) -> Unet:
        begun.append(dropout)
        return build_unet(width, dropout, seed)

    monkeypatch.setattr(training, "build_unet", noted)
    transfer(SETTINGS, home, "scratch")
    assert begun == [0.25, 0.25]


def test_what_other_settings_left_is_not_used(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train, trained = training.train_segmenter, list[str]()

    def stopped(*parts: Any) -> Any:
        trained.append(_subset(parts))
        if trained == ["1-patients-0", "2-patients-0"]:
            raise Interrupted
        return train(*parts)

    monkeypatch.setattr(stage, "train_segmenter", stopped)
    with pytest.raises(Interrupted):
        transfer(SETTINGS, home, "scratch")
    other = lab_settings(transfer__patients=[1, 2], transfer__steps=3)
    transfer(other, home, "scratch")
    assert trained[2:] == ["1-patients-0", "2-patients-0"]


def test_a_pre_trained_start_begins_with_its_weights(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from angiosynth.runtime.recorder import NullRecorder

    weights = fit_unet(SETTINGS, home, "real", NullRecorder()).segmenter.unet.state_dict()
    starts: list[Any] = []
    begin = stage._start
    monkeypatch.setattr(stage, "_start", lambda *parts: starts.append(begin(*parts)) or begin(*parts))  # type: ignore[func-returns-value]
    transfer(SETTINGS, home, "real")
    assert len(starts) == 2  # anew for each subset: none goes on where another ended
    for start in starts:
        assert all(torch.equal(value, weights[name]) for name, value in start.state_dict().items())


def test_a_missing_start_is_one_line(home: Workspace) -> None:
    with pytest.raises((InputError, OSError)) as caught:
        transfer(SETTINGS, home, "dcgan")
    assert "models/unet/dcgan" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_another_site_the_table_is_empty(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tiny_settings(cohort__sites={"site-a": SETTINGS.cohort.of_source.model_dump()})
    transfer(alone, home, "scratch")
    assert read_transfer(_table("scratch")) == []
    assert "no other site" in capsys.readouterr().err


def test_every_site_but_the_source_is_a_target(home: Workspace) -> None:
    for folder in ("data/patches", "data/cohort", "splits"):
        for path in Path(folder).glob("site-b*"):
            other = path.with_name(path.name.replace("site-b", "site-c"))
            shutil.copytree(path, other) if path.is_dir() else shutil.copyfile(path, other)
    shutil.copytree("lab/b", "lab/c")
    sites = {name: site.model_dump() for name, site in SETTINGS.cohort.sites.items()}
    three = lab_settings(cohort__sites=sites | {"site-c": {**sites["site-b"], "path": "lab/c"}})
    transfer(three, home, "scratch")
    rows = read_transfer(_table("scratch"))
    assert [row.site for row in rows] == ["site-b", "site-c"]
    assert rows[0].dsc == rows[1].dsc  # of the same scans, trained in the same way
    moved = three.model_copy(update={"cohort": three.cohort.model_copy(update={"source": "site-b"})})
    transfer(moved, home, "scratch")
    assert [row.site for row in read_transfer(_table("scratch"))] == ["site-a", "site-c"]
