"""From a sampler to a set of pairs on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from angiosynth.data.patches import open_patch_set
from angiosynth.generators import sampling
from angiosynth.generators.gan.models import build_gan
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.generators.synthesis import write_synthetic_set
from angiosynth.runtime.output import write_json
from angiosynth.settings import SynthesisSettings
from tests.factories import tiny_generator, tiny_patches


def test_a_set_on_disk_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 4)
    real, settings = tiny_patches(), SynthesisSettings(pairs=10, seed=3, label_threshold=0.1)
    generator = tiny_generator("wgan-gp")
    sampler = GanSampler(build_gan(generator, 16).generator, generator, torch.device("cpu"))
    card = write_synthetic_set(sampler, settings, real, {"model": "wgan-gp"}, tmp_path)
    write_json(tmp_path / "card.json", card)
    drawn = open_patch_set(tmp_path)
    image, label = sampler.pairs(10, seed=3, threshold=0.1)
    np.testing.assert_array_equal(drawn.image, image)
    np.testing.assert_array_equal(drawn.label, label)
    assert set(drawn.patient) == {""}
    assert card["vessel_fraction"] == pytest.approx(label.mean(), abs=1e-6)
    assert card["vessel_fraction_real"] == pytest.approx(3 / 16, abs=1e-6)
    assert (card["model"], card["n"], card["size"], card["seed"], card["label_threshold"]) == ("wgan-gp", 10, 16, 3, 0.1)
    assert card["intensity"] == real.meta["intensity"]
    assert card["labels"] == "generator"
    assert "generator_labels_dsc" not in card


def test_labels_of_another_source_replace_those_of_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 4)
    real, generator = tiny_patches(), tiny_generator("wgan-gp")
    settings = SynthesisSettings(pairs=10, seed=3, labels="unet")
    sampler = GanSampler(build_gan(generator, 16).generator, generator, torch.device("cpu"))
    card = write_synthetic_set(sampler, settings, real, {}, tmp_path, lambda image: (image > 128).astype(np.uint8))
    image, own = sampler.pairs(10, seed=3, threshold=0.0)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), image)
    np.testing.assert_array_equal(np.load(tmp_path / "label.npy"), image > 128)
    both, either = (own & (image > 128)).sum(), own.sum() + (image > 128).sum()
    assert both
    assert card["labels"] == "unet"
    assert card["vessel_fraction"] == pytest.approx((image > 128).mean(), abs=1e-6)
    assert card["generator_labels_dsc"] == pytest.approx(2 * both / either, abs=1e-4)
    empty = SynthesisSettings(pairs=4, label_threshold=0.999, labels="unet")
    assert write_synthetic_set(sampler, empty, real, {}, tmp_path, np.zeros_like)["generator_labels_dsc"] == 1.0
