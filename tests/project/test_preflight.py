"""Settings are tried before anything long: shapes by building every network, memory by counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from angiosynth.compute import precision
from angiosynth.errors import InputError
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.training import GanTraining
from angiosynth.project import preflight
from angiosynth.project.preflight import memory_needs, needs_of_commands
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.runtime.rehearsal import rehearsal
from angiosynth.segmentation.training import train_segmenter, with_values_of
from angiosynth.settings import Settings
from angiosynth.stages.cohort import cohort
from angiosynth.stages.phantom import phantom
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import train_unet as train_unet_stage
from angiosynth.stages.transfer import transfer
from angiosynth.verbs import sweep as trial
from tests.factories import lab_settings, tiny_patches, tiny_settings
from tests.stages.conftest import SETTINGS

MB = 1e6


def test_what_is_alive_is_counted_by_hand() -> None:
    with rehearsal() as counted:
        x = torch.zeros(1000, 1000)  # 4 MB
        y = x * 2  # 4 more
        view = y[10:]  # none
        y.add_(1)  # none
        assert counted.alive == 8 * MB
        del x
        assert counted.alive == 4 * MB
        del y
        assert counted.alive == 4 * MB, "the view holds it"
        del view
        assert (counted.alive, counted.peak) == (0, 8 * MB)


def test_what_backward_needs_is_alive_until_then() -> None:
    with rehearsal() as counted:
        weight = torch.zeros(1000, 1000, requires_grad=True)
        loss = weight.exp().exp().sum()  # each keeps its result: 8 MB
        assert counted.alive == 12 * MB + 4
        loss.backward()
        assert counted.alive == 8 * MB + 4, "weight, gradient and the loss"


def test_shapes_that_do_not_fit_are_raised() -> None:
    with rehearsal(), pytest.raises(RuntimeError):
        F.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 3, 3))


def test_minibatch_discrimination_grows_with_the_square_of_the_batch() -> None:
    """The differences of all pairs are kept for real and for generated patches: 2 * n * n * kernels * dimensions * 4 bytes at least."""
    sizes = {
        "generators__dcgan__batch_size": 2000,
        "generators__dcgan__minibatch_kernels": 100,
        "generators__dcgan__minibatch_dimensions": 5,
    }
    needs = memory_needs(tiny_settings(**sizes), ["generators.dcgan", "generators.wgan-gp"])
    least = 2 * 2000**2 * 100 * 5 * 4
    assert least < needs["generators.dcgan"].peak < 6 * least
    assert needs["generators.wgan-gp"].peak < least / 100


def test_a_batch_twice_as_large_takes_about_twice_as_much() -> None:
    small, large = (memory_needs(tiny_settings(unet__batch_size=count, patches__size=64), ["unet"])["unet"] for count in (64, 128))
    assert small.lasting == large.lasting
    assert large.peak - large.lasting == pytest.approx(2 * (small.peak - small.lasting), rel=0.05)


FREE = 15_000_000
TOO_LARGE = lab_settings(transfer__patients=[1, 2], unet__batch_size=512)


def test_sizes_are_tried_without_the_gpu_and_in_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_settings(unet__precision="auto", unet__batch_size=64)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    single = memory_needs(settings, ["unet"])["unet"].peak
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, low, high in (((7, 0), single, single), ((9, 0), 0.4 * single, 0.9 * single)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _where, capability=capability: capability)
        assert low <= memory_needs(settings, ["unet"])["unet"].peak <= high
    assert precision.device().type == "cuda", "afterwards the GPU is used"


@pytest.mark.usefixtures("tried_once")
def test_what_does_not_fit_is_refused_with_both_numbers_and_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "memory_available", lambda: FREE)
    preflight.preflight(SETTINGS, Workspace(tmp_path), ("unet", "transfer"))
    with pytest.raises(InputError, match=r"params\.yaml: unet: .*GB, 0\.0 GB are free in memory; lower unet\.batch_size") as caught:
        preflight.preflight(TOO_LARGE, Workspace(tmp_path))
    assert "\n" not in str(caught.value)
    preflight.preflight(TOO_LARGE, Workspace(tmp_path), ("generators.wgan-gp", "transfer"))
    with pytest.raises(InputError, match="number of workers"):
        preflight.preflight(SETTINGS, Workspace(tmp_path), ("unet",), processes=100)
    monkeypatch.setattr(preflight, "memory_available", lambda: 0)  # the machine tells nothing
    preflight.preflight(TOO_LARGE, Workspace(tmp_path))


STAGES: dict[str, Any] = {
    "phantom": lambda home: phantom(TOO_LARGE, home),
    "cohort": lambda home: cohort(TOO_LARGE, home),
    "train-generator": lambda home: train_generator(TOO_LARGE, home, "dcgan"),
    "select-unet": lambda home: select_unet(
        TOO_LARGE.model_copy(update={"selection": TOO_LARGE.selection.model_copy(update={"dropout": (0.1, 0.2)})}), home
    ),
    "train-unet": lambda home: train_unet_stage(TOO_LARGE, home, "real"),
    "sweep": lambda home: trial.sweep(TOO_LARGE, home, "dcgan", 1),
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_refuses_before_it_begins(stage: str, home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: each stage that trains, and those before them; a stage whose own part fits is not kept from it by another's."""
    monkeypatch.setattr(preflight, "memory_available", lambda: FREE)
    before = sorted(path for path in Path().rglob("*") if ".work" not in path.parts)
    with pytest.raises(InputError, match="unet: training would take"):
        STAGES[stage](home)
    assert sorted(path for path in Path().rglob("*") if ".work" not in path.parts) == before
    if stage == "train-unet":
        transfer(TOO_LARGE, home, "scratch")


@pytest.mark.usefixtures("tried_once")
def test_a_second_stage_need_not_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_known", {})
    preflight.preflight(SETTINGS, Workspace(tmp_path))
    monkeypatch.setattr(preflight, "_known", {})  # another process
    monkeypatch.setattr(preflight, "memory_needs", lambda _settings: pytest.fail("looked again"))
    longer = tiny_settings(unet__steps=9, unet__learning_rate=0.1, generators__dcgan__steps=7, generator_defaults__seed=3)
    preflight.preflight(longer, Workspace(tmp_path))
    (kept,) = (tmp_path / ".work" / "preflight").iterdir()
    kept.write_text("{")
    monkeypatch.setattr(preflight, "_known", {})
    with pytest.raises(pytest.fail.Exception):
        preflight.preflight(SETTINGS, Workspace(tmp_path))


SIZES: dict[str, Any] = {
    "patches__size": st.integers(12, 50),
    "generator_defaults__width": st.integers(1, 5),
    "generator_defaults__upsampling": st.sampled_from(["resize", "transposed"]),
    "generator_defaults__sharpen": st.booleans(),
    "generator_defaults__noise": st.booleans(),
    "generator_defaults__label_range": st.sampled_from(["signed", "binary"]),
    "generator_defaults__ema": st.sampled_from([0.0, 0.5]),
    "generators__dcgan__latent_size": st.integers(1, 7),
    "generators__dcgan__batch_size": st.integers(1, 5),
    "generators__dcgan__minibatch_kernels": st.integers(1, 4),
    "generators__dcgan__minibatch_dimensions": st.integers(1, 4),
    "generators__wgan_gp__batch_size": st.integers(1, 5),
    "generators__wgan_gp__gradient_penalty": st.sampled_from(["sample", "batch"]),
    "generators__wgan_gp_sn__spectral_norm": st.sampled_from(["critic", "both"]),
    "unet__width": st.integers(1, 5),
    "unet__batch_size": st.integers(1, 5),
    "unet__dropout": st.sampled_from([0.0, 0.9]),
    "probe__width": st.integers(1, 3),
}
NEAR_16 = st.sampled_from([16, 32, 48])  # sizes that pass come up often enough


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.fixed_dictionaries({**SIZES, "patches__size": st.one_of(SIZES["patches__size"], NEAR_16)}))
def test_settings_are_refused_or_every_network_trains_a_step(values: dict[str, Any]) -> None:
    try:
        settings = tiny_settings(**values)
    except ValidationError:
        return
    _train_a_step(settings)


def _train_a_step(settings: Settings) -> None:
    patches = tiny_patches(6, settings.patches.size)
    for generator in settings.generators.values():
        assert isinstance(generator, GanSettings)
        training = GanTraining(generator, patches)
        assert all(bool(torch.isfinite(value).all()) for value in training.train_step().values())
    for one in (settings.unet, with_values_of(settings.probe, settings.unet)):
        train_segmenter(one.model_copy(update={"steps": 1}), patches, None, NullRecorder())


@pytest.mark.parametrize("size", [24, 20, 17])
def test_a_size_that_settings_would_let_pass_is_found_by_the_networks(size: int) -> None:
    """The second guard: sections are copied without being validated."""
    settings = tiny_settings()
    with pytest.raises(InputError, match=r"params\.yaml: (generators|unet|probe).*its networks cannot be trained with these sizes"):
        memory_needs(settings.model_copy(update={"patches": settings.patches.model_copy(update={"size": size})}), ["unet", "probe"])


def test_the_memory_of_stages_that_train_is_known_by_their_commands(tmp_path: Path) -> None:
    settings = tiny_settings()
    commands = {
        "gan": "python cli.py train-generator wgan-gp",
        "unet": "python cli.py train-unet --data real",
        "score": "python cli.py evaluate --data real",
    }
    known, needs = memory_needs(settings), needs_of_commands(settings, Workspace(tmp_path, tmp_path), commands)
    assert needs["score"] == preflight.BESIDES
    assert needs["gan"] == preflight.BESIDES + max(known["generators.wgan-gp"].peak, known["probe"].peak)
    assert needs["unet"] == preflight.BESIDES + known["unet"].peak
    assert needs_of_commands(settings, Workspace(tmp_path, tmp_path), {"score": commands["score"], "other": "make x"}) == {}
