"""What the registry asks of flows beyond the conformance suite: export, the score of pairs, blank trainings."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from angiosynth.generators import sampling
from angiosynth.generators.flow import family
from angiosynth.generators.flow.training import FlowTraining
from angiosynth.generators.sampling import NoiseSampler
from angiosynth.runtime.rehearsal import rehearsal
from angiosynth.settings import Settings
from tests.factories import tiny_flow, tiny_kinds, tiny_patches, tiny_tree

CPU = torch.device("cpu")
PROFILES = sorted((Path(__file__).resolve().parents[3] / "profiles").glob("*.yaml"))


@pytest.fixture(scope="module")
def learnt() -> FlowTraining:
    """A training that knows its two pairs by heart."""
    training = FlowTraining(tiny_flow(steps=120, batch_size=8, width=8, learning_rate=5e-3, flip=False), tiny_patches(2))
    for _ in range(120):
        training.train_step()
    return training


def _pairs(critic: family.VelocityCritic, seed: int, count: int) -> Tensor:
    image, label = (torch.from_numpy(part) for part in tiny_patches(count, seed=seed).pairs(range(count)))
    return critic.encode(image, label)


def test_pairs_that_were_learnt_by_heart_score_above_all_others(learnt: FlowTraining) -> None:
    critic = family.critic(learnt.settings, 16, learnt.audited())
    known, others = critic.scores(_pairs(critic, 0, 2)), critic.scores(_pairs(critic, 5, 20))
    assert known.max() < 0
    assert known.min() > others.max()


def test_a_score_depends_on_its_pair_alone(learnt: FlowTraining) -> None:
    critic = family.critic(learnt.settings, 16, learnt.audited())
    pairs = _pairs(critic, 3, 6)
    torch.randn(3)
    torch.testing.assert_close(critic.scores(pairs)[2:4], critic.scores(pairs[2:4]))


@pytest.mark.parametrize("chunk", [3, 5])
def test_the_same_pairs_are_drawn_in_chunks_of_any_size(learnt: FlowTraining, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler: NoiseSampler = learnt.sampler()
    image, label = sampler.pairs(10, seed=1)
    monkeypatch.setattr(sampling, "CHUNK", chunk)
    other_image, other_label = sampler.pairs(10, seed=1)
    assert np.abs(image.astype(int) - other_image).max() <= 1  # sums of another order may round to the next grey level
    assert (label != other_label).mean() < 0.001


def test_it_can_be_exported_with_any_number_of_pairs(learnt: FlowTraining) -> None:
    """As tracking does it: a program that integrates the velocity itself, without pickle."""
    flow, example = learnt.average, torch.from_numpy(learnt.sampler().example())
    stored = io.BytesIO()
    torch.export.save(torch.export.export(flow, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), stored)
    stored.seek(0)
    noise = torch.randn(5, flow.size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.export.load(stored).module()(noise), flow(noise))


@pytest.mark.parametrize("label", ["mask", "distance"])
def test_blank_trainings_train(label: str) -> None:
    settings = tiny_flow(label=label)
    step = family.blank_training(settings, 16)
    step()
    step()
    with rehearsal() as counted:
        small = family.rehearse(settings, 16, counted)
    with rehearsal() as counted:
        large = family.rehearse(settings.model_copy(update={"batch_size": 400}), 16, counted)
    assert small.lasting == large.lasting
    assert large.peak > 400 * 16 * 16 * 4 * 4  # at least two channels of ends and of noise


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_takes_a_flow(profile: Path) -> None:
    import yaml

    tree = yaml.safe_load(profile.read_text(encoding="utf-8"))
    tree["generators"]["flow"] = {"kind": "flow", "steps": 100, "width": 32, "learning_rate": 0.002}
    assert Settings.model_validate(tree).generator("flow").kind == "flow"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"levels": 5}, "levels"),
        ({"packing": 4}, "packing"),
        ({"label": "edge"}, "label"),
        ({"sampling_steps": 0}, "sampling_steps"),
        ({"time_deviation": 0}, "time_deviation"),
        ({"distance_clip": 0}, "distance_clip"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], words: str) -> None:
    tree = tiny_tree() | {"generators": {"f": {**tiny_kinds()["flow"], **values}}}
    with pytest.raises(ValueError, match=words):
        Settings.model_validate(tree)
