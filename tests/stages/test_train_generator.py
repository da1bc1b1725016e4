"""Stages train-generator and synthesize: what is kept, and what a change makes of resume files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.generators.base import TrainedGenerator
from angiosynth.generators.storage import load_sampler
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import read_json
from angiosynth.runtime.recorder import ListRecorder, NullRecorder, Recorder
from angiosynth.settings import Settings
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import fit_generator, generator_checkpoints, train_generator
from tests.factories import lab_settings
from tests.stages.conftest import SETTINGS


def fit(settings: Settings, home: Workspace, model: str, recorder: Recorder | None = None) -> TrainedGenerator:
    return fit_generator(settings, home, model, recorder or NullRecorder(), generator_checkpoints(settings, home, model))


def test_a_gan_and_its_set(home: Workspace) -> None:
    recorder = ListRecorder()
    trained = fit(SETTINGS, home, "wgan-gp", recorder)
    facts = read_json(home.generator("wgan-gp") / "generator.json")
    assert (facts["model"], facts["kind"], facts["step"], facts["size"]) == ("wgan-gp", "wgan-gp", trained.step, 16)
    assert facts["probe_dsc"] == trained.scores["probe_dsc"]
    assert {path.name for path in home.generator("wgan-gp").iterdir()} == {
        "generator.pt",
        "generator.json",
        "critic.pt",
        "curve.csv",
        "samples.png",
        "progress.png",
    }
    assert any("probe_dsc" in values for _, values in recorder.rows)
    synthesize(SETTINGS, home, "wgan-gp")
    drawn = open_patch_set(home.synthetic("wgan-gp"))
    assert len(drawn) == 24
    assert drawn.meta["model"] == "wgan-gp"
    first = np.array(drawn.image)
    synthesize(SETTINGS, home, "wgan-gp")
    np.testing.assert_array_equal(open_patch_set(home.synthetic("wgan-gp")).image, first)


def test_generators_that_were_not_chosen_are_kept(home: Workspace) -> None:
    settings = lab_settings(generator_defaults__probes=3)
    trained = fit(settings, home, "wgan-gp")
    folder, generator = home.generator("wgan-gp"), settings.generator("wgan-gp")
    seen = {row["step"]: row["probe_dsc"] for row in read_json(folder / "generator.json")["probes"]}
    assert list(seen) == [2, 3, 4]
    assert seen[trained.step] == max(seen.values())
    others = {step: folder / "checkpoints" / f"step-{step:08d}.pt" for step in seen if step != trained.step}
    assert set((folder / "checkpoints").iterdir()) == set(others.values())
    chosen = load_sampler(folder, generator, 16).network.state_dict()
    for step in others:
        other = load_sampler(folder, generator, 16, step=step).network.state_dict()
        assert any(not torch.equal(other[name], value) for name, value in chosen.items())
    with pytest.raises(InputError, match="missing, damaged"):
        load_sampler(folder, generator, 16, step=1)


def test_training_twice_gives_the_same_bytes(home: Workspace) -> None:
    train_generator(SETTINGS, home, "dcgan")
    assert not [path for path in Path(".work").glob("train-generator-*/**/*") if path.is_file()], "resume files go when the stage is done"
    first = {path.name: path.read_bytes() for path in home.generator("dcgan").iterdir()}
    train_generator(SETTINGS, home, "dcgan")
    assert {path.name: path.read_bytes() for path in home.generator("dcgan").iterdir()} == first


def test_only_training_patients_are_seen(home: Workspace) -> None:
    split = load_split(home.splits, "site-a")
    patches = home.real_patches(SETTINGS, split.train[:1])
    assert set(patches.patient[patches.rows]) == {split.train[0]}


def test_the_kept_weights_are_the_chosen_ones(home: Workspace) -> None:
    trained = fit(SETTINGS, home, "wgan-gp-sn")
    kept = torch.load(home.generator("wgan-gp-sn") / "generator.pt", weights_only=True)
    assert list(kept) == list(trained.weights)
    assert all(torch.equal(kept[name], value) for name, value in trained.weights.items())
