"""One tiny workspace for all tests of stages: two sites of tubes in noise, split, cut, nothing recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from angiosynth.project import preflight
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.rehearsal import Need, Rehearsal
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import IntensitySettings, Settings, UnetSettings, digest
from angiosynth.stages.cohort import cohort
from angiosynth.stages.patches import patches
from angiosynth.stages.select_unet import select_unet
from tests.factories import few_samples, lab_settings, make_cohort

SETTINGS = lab_settings(transfer__patients=[1, 2])
REHEARSALS = preflight._rehearsals
RULE = IntensitySettings(low=1.0, high=99.0)  # of the fixture `model`


def _prepare(folder: Path) -> None:
    make_cohort(folder / "lab" / "a", 4, (32, 36, 4), seed=1)
    make_cohort(folder / "lab" / "b", 4, (32, 36, 4), seed=2)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    cohort(SETTINGS, Workspace())
    patches(SETTINGS, Workspace())
    select_unet(SETTINGS, Workspace())
    patch.undo()


@pytest.fixture(scope="session")
def _prepared(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    return once("workspace", _prepare)


_needs: dict[str, Need] = {}  # by digest of a network's sizes


def _tried_once(settings: Settings) -> Iterator[tuple[str, Callable[[Rehearsal], Need]]]:
    """`preflight._rehearsals`, each network's result kept by its sizes: most settings of tests differ in other values."""
    facts = preflight._sizes(settings)
    for section, rehearse in REHEARSALS(settings):
        sizes = facts["generators"].get(section.removeprefix("generators."), facts.get(section))
        key = digest(sizes, facts["size"], facts["unet"], section)
        yield section, partial(_remembered, key, rehearse)


def _remembered(key: str, rehearse: Callable[[Rehearsal], Need], counted: Rehearsal) -> Need:
    if key not in _needs:
        _needs[key] = rehearse(counted)
    return _needs[key]


@pytest.fixture
def tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preflight tries a network of the same sizes once in a process, whatever settings are tested."""
    monkeypatch.setattr(preflight, "_rehearsals", _tried_once)


@pytest.fixture
def home(_prepared: Path, tried_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of it, as the working folder."""
    few_samples(monkeypatch)
    shutil.copytree(_prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return Workspace()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A U-net that marks what is bright: its last bias is lifted until some voxels pass."""
    unet = build_unet(2, 0.0, 3)
    unet.last.bias.data.fill_(0.0)  # type: ignore[union-attr]
    folder = tmp_path / "model"
    folder.mkdir()
    trained = TrainedUnet(Segmenter(unet.eval(), -0.5, 0.4, "float32"), 1, {}, [])
    save_unet(folder, trained, UnetSettings(width=2, steps=1, precision="float32"), {"intensity": RULE.model_dump(mode="json")})
    return folder
