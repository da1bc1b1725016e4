"""From a generator to a set of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from angiosynth.generators.gan.synthesis import Sampler, default_threshold, load_generator, synthesize
from torch import Tensor, nn

from angiosynth.data.patches import open_patch_set
from angiosynth.errors import InputError
from angiosynth.generators.gan import synthesis
from angiosynth.generators.gan.models import build_gan, build_generator
from angiosynth.runtime.output import write_json
from angiosynth.settings import SynthesisSettings
from tests.factories import tiny_patches, tiny_settings

CPU = torch.device("cpu")
SETTINGS = tiny_settings().gan


class Constant(nn.Module):
    """Stands for a generator: image and label of every pixel from the first latent values."""

    latent_size = 2

    def __init__(self, label: float) -> None:
        super().__init__()
        self.label = label

    def forward(self, latent: Tensor) -> Tensor:
        image = torch.full((len(latent), 1, 4, 4), -1.0)
        image[:, :, :2] = 1.0
        return torch.cat([image, torch.full_like(image, self.label)], dim=1)


def _sampler() -> Sampler:
    return Sampler(build_gan("wgan-gp", SETTINGS, 16).generator, SETTINGS, CPU)


def test_pairs_are_levels_and_labels() -> None:
    image, label = _sampler().pairs(9, seed=1, threshold=None)
    assert image.shape == label.shape == (9, 16, 16)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1}
    assert len(np.unique(image)) > 5


def test_the_scale_of_images() -> None:
    image, _ = Sampler(Constant(0.5), SETTINGS, CPU).pairs(3, seed=1, threshold=None)  # type: ignore[arg-type]
    assert (image[:, :2] == 255).all()
    assert (image[:, 2:] == 0).all()


@pytest.mark.parametrize(
    ("value", "threshold", "expected"), [(0.1, None, 1), (-0.1, None, 0), (0.1, 0.2, 0), (-0.1, -0.2, 1), (0.0, None, 0)]
)
def test_labels_are_cut_at_the_threshold(value: float, threshold: float | None, expected: int) -> None:
    _, label = Sampler(Constant(value), SETTINGS, CPU).pairs(3, seed=1, threshold=threshold)  # type: ignore[arg-type]
    assert set(np.unique(label)) == {expected}


def test_the_default_threshold_follows_the_label_range() -> None:
    assert default_threshold(SETTINGS) == 0.0
    assert default_threshold(tiny_settings(generator_defaults__label_range="binary").gan) == 0.8


def test_the_seed_alone_decides_what_is_drawn() -> None:
    sampler = _sampler()
    first = sampler.pairs(6, seed=1, threshold=None)
    torch.randn(5)
    np.testing.assert_array_equal(first[0], sampler.pairs(6, seed=1, threshold=None)[0])
    assert (first[0] != sampler.pairs(6, seed=2, threshold=None)[0]).any()


def test_a_last_chunk_is_as_short_as_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = _sampler()
    monkeypatch.setattr(synthesis, "CHUNK", 4)
    assert [len(image) for image, _ in sampler.chunks(10, 1, None)] == [4, 4, 2]
    np.testing.assert_array_equal(sampler.pairs(10, 1, None)[0][:8], sampler.pairs(8, 1, None)[0])


def test_drawing_leaves_the_generator_as_it_was() -> None:
    sampler = _sampler()
    sampler.generator.train()
    before = {name: value.clone() for name, value in sampler.generator.state_dict().items()}
    sampler.pairs(3, 1, None)
    assert sampler.generator.training
    assert all(torch.equal(value, before[name]) for name, value in sampler.generator.state_dict().items())


def test_a_set_on_disk_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "CHUNK", 4)
    real, settings = tiny_patches(), SynthesisSettings(pairs=10, seed=3, label_threshold=0.1)
    sampler = _sampler()
    card = synthesize(sampler, settings, real, {"model": "wgan-gp"}, tmp_path)
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


def test_a_generator_comes_back_from_its_folder(tmp_path: Path) -> None:
    generator = build_generator("dcgan", SETTINGS, 16)
    torch.save(generator.state_dict(), tmp_path / "generator.pt")
    loaded = load_generator(tmp_path, "dcgan", SETTINGS, 16)
    assert not loaded.training
    latent = torch.ones(2, generator.latent_size)
    assert torch.equal(loaded(latent), generator.eval()(latent))


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "empty", "other"])
def test_an_unusable_generator_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "generator.pt"
    torch.save(build_generator("dcgan", SETTINGS, 16).state_dict(), path)
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        torch.save(build_generator("dcgan", SETTINGS, 32).state_dict(), path)
    else:
        path.write_bytes({"garbage": b"nothing of use", "cut": path.read_bytes()[:-200], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"generator\.pt: .*dvc repro") as caught:
        load_generator(tmp_path, "dcgan", SETTINGS, 16)
    assert "\n" not in str(caught.value)
