"""A trained generator's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from angiosynth.errors import InputError
from angiosynth.generators.gan.models import build_gan, build_generator
from angiosynth.generators.storage import load_critic, load_sampler
from tests.factories import tiny_generator

SETTINGS = tiny_generator("dcgan")


def test_a_generator_comes_back_from_its_folder(tmp_path: Path) -> None:
    generator = build_generator(SETTINGS, 16)
    torch.save(generator.state_dict(), tmp_path / "generator.pt")
    loaded = load_sampler(tmp_path, SETTINGS, 16).network
    assert not loaded.training
    latent = torch.ones(2, generator.latent_size)
    assert torch.equal(loaded(latent), generator.eval()(latent))


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "empty", "other"])
def test_an_unusable_generator_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "generator.pt"
    torch.save(build_generator(SETTINGS, 16).state_dict(), path)
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        torch.save(build_generator(SETTINGS, 32).state_dict(), path)
    else:
        path.write_bytes({"garbage": b"nothing of use", "cut": path.read_bytes()[:-200], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"generator\.pt: .*dvc repro") as caught:
        load_sampler(tmp_path, SETTINGS, 16)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "empty", "other"])
def test_an_unusable_critic_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "critic.pt"
    torch.save(build_generator(SETTINGS, 16).state_dict(), tmp_path / "generator.pt")
    torch.save(build_gan(SETTINGS, 32 if damage == "other" else 16).critic.state_dict(), path)
    if damage == "missing":
        path.unlink()
    elif damage != "other":
        path.write_bytes({"garbage": b"nothing of use", "cut": path.read_bytes()[:-200], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"critic\.pt: missing, damaged or of other settings \(.*\); run `dvc repro`") as caught:
        load_critic(tmp_path, SETTINGS, 16)
    assert "\n" not in str(caught.value)
