"""A U-net's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from angiosynth.errors import InputError
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import count_weights, load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import UnetSettings

SETTINGS = UnetSettings(width=3, dropout=0.1, steps=9, precision="float32")


def _save(folder: Path) -> TrainedUnet:
    unet = build_unet(3, 0.1, 1)
    with torch.no_grad():
        unet.last.bias.zero_()  # type: ignore[union-attr]
    trained = TrainedUnet(Segmenter(unet, -0.25, 0.5, "float32"), 7, {"val_dsc": 0.5, "val_hd95_mm": 2.0}, [])
    save_unet(folder, trained, SETTINGS, {"data": "real"})
    return trained


@pytest.mark.parametrize(("width", "weights"), [(64, 31_377_793), (32, 7_846_081)])  # of Livne et al. 2019
def test_weights_are_counted_without_a_network(width: int, weights: int) -> None:
    assert count_weights(width) == weights
    assert count_weights(3) == sum(parameter.numel() for parameter in build_unet(3, 0.0, 1).parameters())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = _save(tmp_path).segmenter
    loaded = load_segmenter(tmp_path)
    assert (loaded.mean, loaded.deviation, loaded.precision, loaded.unet.training) == (-0.25, 0.5, "float32", False)
    image = np.random.default_rng(0).uniform(-1, 1, (20, 20, 2)).astype(np.float32)
    brain = np.ones(image.shape, bool)
    result = loaded.segment(image, brain)
    np.testing.assert_array_equal(result, saved.segment(image, brain))
    assert 0 < result.mean() < 1


def test_the_facts_beside_the_weights(tmp_path: Path) -> None:
    _save(tmp_path)
    facts = json.loads((tmp_path / "unet.json").read_text())
    assert facts == {
        "data": "real",
        "width": 3,
        "dropout": 0.1,
        "precision": "float32",
        "seed": 1,
        "mean": -0.25,
        "deviation": 0.5,
        "step": 7,
        "val_dsc": 0.5,
        "val_hd95_mm": 2.0,
    }


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _save(tmp_path / name)
    for name in ("unet.pt", "unet.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("damage", [None, b"", b"nothing of use", "cut"], ids=["missing", "empty", "garbage", "cut"])
@pytest.mark.parametrize("name", ["unet.pt", "unet.json"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, damage: Any) -> None:
    _save(tmp_path)
    path = tmp_path / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30] if damage == "cut" else damage)
    _one_line(tmp_path)


@pytest.mark.parametrize("facts", [{"width": 4}, {"width": "wide"}, {"mean": None}, {"dropout": 2.0}])
def test_facts_that_do_not_belong_are_one_line(tmp_path: Path, facts: dict[str, Any]) -> None:
    _save(tmp_path)
    path = tmp_path / "unet.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    _one_line(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}"])
def test_other_json_is_one_line(tmp_path: Path, text: str) -> None:
    _save(tmp_path)
    (tmp_path / "unet.json").write_text(text)
    _one_line(tmp_path)


def _one_line(folder: Path) -> None:
    with pytest.raises(InputError, match="dvc repro") as caught:
        load_segmenter(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
