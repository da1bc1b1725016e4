"""A flow's training: its step, its average, what comes back of it; what every loop does is in the conformance suite and gan/."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.generators import loop
from angiosynth.generators.flow.encoding import channel_statistics, encode_pairs
from angiosynth.generators.flow.training import FlowTraining, train_flow
from angiosynth.generators.loop import run_training
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder, NullRecorder
from tests.factories import tiny_flow, tiny_patches
from tests.generators.probe import Probe


def _training(steps: int = 6, **values: Any) -> FlowTraining:
    return FlowTraining(tiny_flow(steps=steps, **values), tiny_patches())


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_all_of_the_state_comes_back() -> None:
    straight, resumed = _training(), _training()
    for _ in range(3):
        straight.train_step()
    buffer = io.BytesIO()
    torch.save(straight.state(), buffer)
    buffer.seek(0)
    resumed.restore(torch.load(buffer, weights_only=True))
    losses = [[training.train_step()["velocity_loss"].item() for _ in range(3)] for training in (straight, resumed)]
    assert losses[0] == losses[1]
    assert resumed.step == 6
    assert _equal(straight.flow.state_dict(), resumed.flow.state_dict())
    assert _equal(straight.average.state_dict(), resumed.average.state_dict())
    assert torch.equal(straight.random.get_state(), resumed.random.get_state())


@pytest.mark.parametrize("label", ["mask", "distance"])
def test_training_is_deterministic_and_moves_every_weight(label: str) -> None:
    one, other, different = (_training(label=label, seed=seed) for seed in (1, 1, 2))
    fresh = {name: weight.clone() for name, weight in one.flow.named_parameters()}
    for training in (one, other, different):
        for _ in range(4):
            training.train_step()
    assert _equal(one.average.state_dict(), other.average.state_dict())
    assert not _equal(one.average.state_dict(), different.average.state_dict())
    for name, weight in one.flow.named_parameters():
        assert not torch.equal(weight, fresh[name]), name


def test_the_velocity_is_learnt() -> None:
    """Before training the loss is what a linear prediction leaves, about 1 for these times; on one pair the rest can be known."""
    patches = tiny_patches(1, patients=1)
    training = FlowTraining(tiny_flow(steps=80, batch_size=8, width=8, learning_rate=5e-3, flip=False), patches)
    losses = [training.train_step()["velocity_loss"].item() for _ in range(80)]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


@pytest.mark.parametrize("ema", [0.0, 0.2, 0.995])
def test_the_averaged_flow_by_hand(ema: float) -> None:
    training = _training(ema=ema)
    expected = {name: value.detach().double() for name, value in training.flow.named_parameters()}
    for step in range(1, 4):
        training.train_step()
        decay = min(ema, step / (step + 10))
        for name, value in training.flow.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
    for name, value in training.averaged().named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [True, False])
def test_the_learning_rate_falls_over_the_second_half_or_not_at_all(decay: bool) -> None:
    training = _training(8, decay=decay)
    rates = []
    for _ in range(8):
        training.train_step()
        rates.append(training.rates()["learning_rate"])
    shares = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25] if decay else [1] * 8
    assert rates == [pytest.approx(share * training.settings.learning_rate) for share in shares]


def test_paths_end_at_standardised_pairs_mirrored_left_right() -> None:
    patches = tiny_patches(1, patients=1)
    training = FlowTraining(tiny_flow(batch_size=32), patches)
    ends, noise, times = training._paths()
    pair = encode_pairs(training.settings, *(torch.from_numpy(part) for part in patches.pairs([0])))
    mean, deviation = (value[:, None, None] for value in channel_statistics(training.settings, patches))
    same, mirrored = ((pair - mean) / deviation)[0], ((pair.flip(2) - mean) / deviation)[0]  # x is the first axis of a patch
    kept = [torch.equal(end, same) for end in ends]
    assert [torch.equal(end, mirrored) for end in ends] == [not one for one in kept]
    assert 4 < sum(kept) < 28
    assert (noise.shape, times.shape) == ((32, 2, 16, 16), (32,))
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    assert len(times.unique()) == 32


def test_the_channels_of_the_flow_are_those_of_the_patches() -> None:
    training = _training(label="distance")
    mean, deviation = channel_statistics(training.settings, training.patches)
    for flow in (training.flow, training.average):
        assert torch.equal(flow.mean, mean)
        assert torch.equal(flow.deviation, deviation)


def test_curves_are_recorded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Training, "log_every", 2)
    recorder = ListRecorder()
    trained = train_flow("f", tiny_flow(steps=5), tiny_patches(), Probe(), Checkpoints(tmp_path), recorder)
    numbers = {"velocity_loss", "velocity_loss_image", "velocity_loss_label", "learning_rate"}
    assert [(step, set(values)) for step, values in recorder.rows] == [(2, numbers), (4, numbers), (5, numbers), (5, {"probe_dsc"})]
    assert [row["step"] for row in trained.curve] == [2, 4, 5, 5]


def test_what_the_audit_reads_is_the_last_average_whichever_step_is_chosen(tmp_path: Any) -> None:
    training = _training(probes=6)
    trained = run_training("f", training, Probe({4: 0.9}), Checkpoints(tmp_path), NullRecorder())
    assert trained.step == 4
    assert _equal(trained.audited["last"], training.average.state_dict())
    assert not _equal(trained.audited["last"], trained.weights)


def test_a_learning_rate_that_is_far_too_high_ends_in_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "watch_steps", lambda _steps: set())
    monkeypatch.setattr(loop.Training, "log_every", 1)
    settings = tiny_flow(steps=40, learning_rate=1.0).model_copy(update={"learning_rate": 1e30})  # params.yaml may not say so
    with pytest.raises(InputError, match=r"velocity_loss is not finite at step 2, diverged; .*lower the learning rates") as caught:
        train_flow("f", settings, tiny_patches(), Probe(), Checkpoints(tmp_path), NullRecorder())
    assert "\n" not in str(caught.value)


def test_no_patches_are_one_line(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="no patches to train on"):
        train_flow("f", tiny_flow(), tiny_patches().of_patients([]), Probe(), Checkpoints(tmp_path), NullRecorder())
