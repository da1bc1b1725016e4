"""Resume files belong to all that a stage's result depends on: one thing changed, and they are not gone on with."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml

from angiosynth.data.split import load_split
from angiosynth.generators.gan import training as gan_training
from angiosynth.project import preflight, resuming
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.rehearsal import Need
from angiosynth.settings import Settings
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import train_unet
from angiosynth.stages.transfer import transfer
from tests.factories import lab_settings

nib: Any = nibabel
ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Callable[[Settings, Workspace], object]] = {
    "train-generator": lambda settings, home: train_generator(settings, home, "wgan-gp"),
    "select-unet": select_unet,
    "train-unet": lambda settings, home: train_unet(settings, home, "real"),
    "train-unet of a set": lambda settings, home: train_unet(settings, home, "dcgan"),
    "transfer": lambda settings, home: transfer(settings, home, "real"),
    "transfer from scratch": lambda settings, home: transfer(settings, home, "scratch"),
}


class Asked(Exception):  # noqa: N818 -- no error
    """The stage asked where its resume files lie; nothing further is done."""


def settings_with(**values: object) -> Settings:
    return lab_settings(
        transfer__patients=[1],
        **{"selection": {"dropout": [0.0, 0.1]}, **values},
    )


def key_of(stage: str, home: Workspace, monkeypatch: pytest.MonkeyPatch, settings: Settings | None = None) -> str:
    keys: list[str] = []
    nothing: defaultdict[str, Need] = defaultdict(lambda: Need(0, 0))

    def asked(home: Workspace, name: str, key: str) -> Path:
        keys.append(key)
        raise Asked

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "resume", asked)
        patch.setattr(preflight, "known_needs", lambda *_: nothing)  # which asks for a key of its own, and tries every size anew
        with pytest.raises(Asked):
            STAGES[stage](settings or settings_with(), home)
    return keys[0]


@pytest.fixture
def ready(home: Workspace, model: Path) -> Workspace:
    """Every input of every stage is there."""
    shutil.copytree(home.patches("site-a"), home.synthetic("dcgan"))
    shutil.copytree(model, home.unet("real"))
    return home


def site_of(stage: str) -> str:
    return "b" if stage.startswith("transfer") else "a"


def patches_of(stage: str, home: Workspace) -> Path:
    return home.synthetic("dcgan") if stage.endswith("set") else home.patches(f"site-{site_of(stage)}")


def split_of(stage: str, home: Workspace) -> tuple[Path, dict[str, list[str]]]:
    path = home.splits / f"site-{site_of(stage)}.json"
    return path, json.loads(path.read_text())


def exchange(stage: str, home: Workspace, one: str, other: str) -> None:
    """The first patients of two parts of the split change places."""
    path, split = split_of(stage, home)
    split[one][0], split[other][0] = split[other][0], split[one][0]
    path.write_text(json.dumps(split))


def change_scan(stage: str, home: Workspace, ending: str, change: Callable[[Any], Any]) -> None:
    """Another file in a scan's place: a NIfTI of the first validation patient."""
    _, split = split_of(stage, home)
    path = Path("lab", site_of(stage), split["validation"][0], "anat", f"{split['validation'][0]}_{ending}.nii.gz")
    image = nib.load(path)
    nib.save(change(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)), path)


def change_scans(stage: str, home: Workspace, endings: tuple[str, ...], change: Callable[[Any], Any]) -> None:
    for ending in endings:
        change_scan(stage, home, ending, change)


def one_voxel(image: Any) -> Any:
    array = np.asarray(image.dataobj)
    array[5, 5, 1] ^= 1
    return image


def wider_voxels(image: Any) -> Any:
    affine = np.diag([1.02, 1, 1, 1]) @ image.affine
    image.set_sform(affine)
    image.set_qform(affine)
    return image


def change_patch(stage: str, home: Workspace, name: str) -> None:
    path = patches_of(stage, home) / name
    if name == "index.csv":
        text = path.read_text()
        first, second = sorted({line.split(",")[0] for line in text.splitlines()[1:]})[:2]
        path.write_text(text.replace(first, "sub-x").replace(second, first).replace("sub-x", second))
    else:
        array = np.load(path)
        array[0, 0, 0] ^= 1
        np.save(path, array)


FILES = ("angio", "desc-brain_mask", "desc-vessel_mask")
CHANGES: dict[str, Callable[[str, Workspace], None]] = {
    "a validation and a test patient change places": lambda stage, home: exchange(stage, home, "validation", "test"),
    "a validation and a training patient change places": lambda stage, home: exchange(stage, home, "validation", "train"),
    "a voxel of a label": lambda stage, home: change_scan(stage, home, "desc-vessel_mask", one_voxel),
    "a voxel of a brain mask": lambda stage, home: change_scan(stage, home, "desc-brain_mask", one_voxel),
    "a voxel of a scan": lambda stage, home: change_scan(stage, home, "angio", one_voxel),
    "the voxels' size": lambda stage, home: change_scans(stage, home, FILES, wider_voxels),
    "a voxel of a patch": lambda stage, home: change_patch(stage, home, "image.npy"),
    "a voxel of a patch's label": lambda stage, home: change_patch(stage, home, "label.npy"),
    "whose patches they are": lambda stage, home: change_patch(stage, home, "index.csv"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_input_changed_alone_gives_another_key(stage: str, ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(stage, ready, monkeypatch)
    for name, change in CHANGES.items():
        kept = Path(f"kept-{site_of(stage)}")
        for folder in ("lab", "data", "splits"):
            shutil.copytree(folder, kept / folder)
        change(stage, ready)
        assert key_of(stage, ready, monkeypatch) != key, name
        for folder in ("lab", "data", "splits"):
            shutil.rmtree(folder)
            (kept / folder).rename(folder)
    assert key_of(stage, ready, monkeypatch) == key, "after all was undone"


@pytest.mark.parametrize("name", ["unet.pt", "unet.json"])
def test_a_fine_tuning_belongs_to_what_it_starts_from(name: str, ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key, fresh = key_of("transfer", ready, monkeypatch), key_of("transfer from scratch", ready, monkeypatch)
    path = ready.unet("real") / name
    path.write_bytes(path.read_bytes() + b" ")
    assert key_of("transfer", ready, monkeypatch) != key
    assert key_of("transfer from scratch", ready, monkeypatch) == fresh


@pytest.mark.parametrize(
    ("stage", "matter", "do_not"),
    [
        (
            "train-generator",
            ("generators__wgan_gp__learning_rate_critic", "generator_defaults__seed", "probe__steps", "probe__slice_stride"),
            "unet__steps",
        ),
        ("select-unet", ("unet__steps", "unet__width"), "probe__steps"),
        ("train-unet", ("unet__steps", "unet__batch_size", "unet__seed"), "probe__steps"),
        ("transfer", ("transfer__steps", "transfer__seed"), "unet__steps"),
    ],
)
def test_settings_that_matter(stage: str, matter: tuple[str, ...], do_not: str, ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(stage, ready, monkeypatch)
    others = {key_of(stage, ready, monkeypatch, settings_with(**{name: 7 if "rate" not in name else 1e-3})) for name in matter}
    others.add(key_of(stage, ready, monkeypatch, settings_with(cohort__intensity={"low": 2.0, "high": 99.0})))
    assert len(others | {key}) == len(matter) + 2
    assert key_of(stage, ready, monkeypatch, settings_with(**{do_not: 7})) == key


@pytest.mark.parametrize("stage", STAGES)
def test_a_choice_made_by_select_unet_matters(stage: str, ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(stage, ready, monkeypatch)
    choice = json.loads(ready.unet_choice.read_text())
    ready.unet_choice.write_text(json.dumps({**choice, "dropout": 0.35}))
    assert (key_of(stage, ready, monkeypatch) != key) == stage.startswith(("train-unet", "transfer"))


def test_code_and_libraries_matter(ready: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of every package of which dvc.yaml names one: among them the probe's own."""
    key = key_of("train-generator", ready, monkeypatch)
    shutil.copytree(resuming.CODE, tmp_path / "code")
    monkeypatch.setattr(resuming, "CODE", tmp_path / "code")
    assert key_of("train-generator", ready, monkeypatch) == key
    files = (
        "arrays",
        "data/intensity",
        "segmentation/validation",
        "metrics/frechet",
        "generators/gan/losses",
        "compute/precision",
        "segmentation/unet",
    )
    keys = {key}
    for name in files:
        path = tmp_path / "code" / f"{name}.py"
        path.write_text(path.read_text() + "# changed\n")
        keys.add(key_of("train-generator", ready, monkeypatch))
    assert len(keys) == len(files) + 1
    monkeypatch.setattr(metadata, "version", lambda name: f"{name} 9.9")
    assert key_of("train-generator", ready, monkeypatch) not in keys


def test_the_key_holds_all_code_that_dvc_looks_at() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    named: set[Path] = set()
    for name in ("train-generator", "select-unet", "train-unet", "transfer"):
        entry = stages[name].get("do", stages[name])
        named |= {ROOT / path for path in entry["deps"] if path.startswith("src/")}
    named = {file for path in named for file in ([path] if path.suffix else path.rglob("*.py"))}
    assert len(named) > 40
    named -= {ROOT / "src" / "angiosynth" / "settings" / "sections.py"}  # defaults: their values are in the key
    assert not named - set(resuming.code_files())


def test_references_of_audits_belong_to_settings_data_and_code(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**values: object) -> str:
        return resuming.references_digest(settings_with(**values), ready, load_split(ready.splits, "site-a"))

    first = key()
    assert key(unet__steps=99, generators__wgan_gp__steps=99, synthesis__pairs=99) == first
    keys = {first, key(audit__checked=99), key(patches__seed=99), key(generator_defaults__width=6), key(audit__limits={"copies": 0.5})}
    for path in (ready.unet("real") / "unet.json", ready.cohort("site-a"), ready.patches("site-a") / "image.npy"):
        path.write_bytes(path.read_bytes() + b" ")
        keys.add(key())
    monkeypatch.setattr(resuming, "code_digest", lambda more: f"other {more}")
    keys.add(key())
    assert len(keys) == 9


@pytest.mark.parametrize("swapped", [False, True])
def test_a_killed_training_goes_on_only_with_the_same_validation_patients(
    swapped: bool, home: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_with()
    real = gan_training.GanTraining.train_step

    def killed_at_the_fourth(self: Any) -> Any:
        if self.step == 3:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(gan_training.GanTraining, "train_step", killed_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            train_generator(settings, home, "wgan-gp")
    assert list(Path(".work").rglob("step-*.ckpt"))
    if swapped:
        exchange("train-generator", home, "validation", "test")
    capsys.readouterr()
    train_generator(settings, home, "wgan-gp")
    said = capsys.readouterr().err
    assert ("goes on at step 2" in said) is not swapped
    assert (
        "train-generator-wgan-gp: begins anew; .work/train-generator-wgan-gp holds what other data, settings or code left" in said
    ) is swapped
    resumed = (home.generator("wgan-gp") / "generator.json").read_bytes()
    shutil.rmtree(".work")
    train_generator(settings, home, "wgan-gp")
    assert (home.generator("wgan-gp") / "generator.json").read_bytes() == resumed, "as of a training that was never killed"
