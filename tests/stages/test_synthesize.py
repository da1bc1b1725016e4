"""Stage synthesize: whose labels a set has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.patches import open_patch_set
from angiosynth.errors import InputError
from angiosynth.generators.storage import load_sampler
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import Settings
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import fit_unet, train_unet
from angiosynth.verbs.sweep import ModelTrial, basis
from tests.factories import lab_settings, tiny_kinds
from tests.stages.conftest import SETTINGS

LABELLED = lab_settings(synthesis__labels="unet")


def _set(settings: Settings, home: Workspace, model: str = "wgan-gp") -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Images, labels and card of a set."""
    synthesize(settings, home, model)
    drawn = open_patch_set(home.synthetic(model))
    return np.array(drawn.image), np.array(drawn.label), read_json(home.synthetic(model) / "card.json")


def test_unets_of_all_seeds_label_the_set(home: Workspace) -> None:
    settings = lab_settings(synthesis__labels="unet", unet__seeds=2)
    train_generator(settings, home, "wgan-gp")
    train_unet(settings, home, "real")
    folders = [home.unet("real"), *home.unet("real").glob("seed-*")]
    assert len(folders) == 2
    labeller = PatchLabeller(tuple(map(load_segmenter, folders)))
    image, own, own_card = _set(SETTINGS, home)
    again, label, card = _set(settings, home)
    np.testing.assert_array_equal(again, image)
    np.testing.assert_array_equal(label, labeller.labels(image))
    assert (label != own).any()
    assert (card["labels"], card["vessel_fraction"]) == ("unet", pytest.approx(label.mean(), abs=1e-6))
    assert (own_card["labels"], own_card["settings_digest"] != card["settings_digest"]) == ("generator", True)


def test_a_missing_unet_is_named_and_the_old_set_stays(home: Workspace) -> None:
    train_generator(SETTINGS, home, "wgan-gp")
    image, *_ = _set(SETTINGS, home)
    with pytest.raises(InputError, match=r"models/unet/real/unet\.json"):
        synthesize(LABELLED, home, "wgan-gp")
    np.testing.assert_array_equal(open_patch_set(home.synthetic("wgan-gp")).image, image)


def test_a_unet_of_other_patients_labels_nothing(home: Workspace) -> None:
    train_generator(LABELLED, home, "wgan-gp")
    train_unet(LABELLED, home, "real")
    split = home.splits / "site-a.json"
    parts = read_json(split)
    write_json(split, {**parts, "train": parts["train"][:1]})
    with pytest.raises(InputError, match=r"models/unet/real: was not trained on the present patches .* run `dvc repro train-unet`"):
        synthesize(LABELLED, home, "wgan-gp")
    write_json(split, parts)
    synthesize(LABELLED, home, "wgan-gp")


def test_a_simulator_keeps_its_labels(home: Workspace) -> None:
    """A U-net of the patients would break its privacy promise, and is not even read."""
    settings = lab_settings(synthesis__labels="unet", generators={"private": tiny_kinds()["private-phantom"]})
    train_generator(settings, home, "private")
    image, label, card = _set(settings, home, "private")
    drawn = load_sampler(home.generator("private"), settings.generator("private"), 16).pairs(24, 1, 0.0)
    np.testing.assert_array_equal(image, drawn[0])
    np.testing.assert_array_equal(label, drawn[1])
    assert (card["labels"], card["promise"]["epsilon"]) == ("generator", 1.0)
    assert "labelling_unet" not in basis(settings, home, "private")


def test_a_trial_of_a_sweep_has_the_labels_of_the_projects_unet(home: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models/unet/real/unet\.json"):
        basis(LABELLED, home, "wgan-gp")  # before hours of training
    fit_unet(LABELLED, home, "real", NullRecorder())
    ModelTrial("wgan-gp")(LABELLED, tmp_path / "scratch", "", 0)
    drawn = open_patch_set(tmp_path / "scratch" / "data" / "synthetic" / "wgan-gp")
    labeller = PatchLabeller((load_segmenter(home.unet("real")),))
    np.testing.assert_array_equal(drawn.label, labeller.labels(np.asarray(drawn.image)))
    # A folder with a U-net of its own uses this one, such as that of a seed of benchmarks/verdicts.py.
    apart = Workspace(root=tmp_path / "scratch")
    shutil.copytree(home.unet("real"), apart.unet("real"))
    assert (apart.labelling_unet, home.labelling_unet) == (tmp_path / "scratch" / "models" / "unet" / "real", home.unet("real"))
    # A study is continued with the same U-net only.
    before = basis(LABELLED, home, "wgan-gp")
    shutil.rmtree(home.unet("real"))
    fit_unet(lab_settings(unet__seed=9), home, "real", NullRecorder())
    after = basis(LABELLED, home, "wgan-gp")
    assert {key for key in after if after[key] != before[key]} == {"labelling_unet"}
