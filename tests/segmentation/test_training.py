"""The one U-net trainer."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from angiosynth.errors import InputError
from angiosynth.runtime.recorder import ListRecorder, NullRecorder
from angiosynth.segmentation import training
from angiosynth.segmentation.losses import Loss, segmentation_loss
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import TrainedUnet, rate_factor, train_segmenter, with_values_of
from angiosynth.segmentation.unet import Unet, build_unet
from angiosynth.settings import ProbeSettings, TransferSettings, UnetSettings
from tests.factories import tiny_patches


def _settings(steps: int = 6, **values: float | str) -> UnetSettings:
    tiny = {"width": 2, "batch_size": 4, "learning_rate": 5e-3, "validations": 1, "precision": "float32"}
    return UnetSettings.model_validate({**tiny, **values, "steps": steps})


class Validation:
    """Gives the scores of a list, and keeps the weights it saw."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.seen = list(scores), list[dict[str, torch.Tensor]]()

    def __call__(self, segmenter: Segmenter) -> dict[str, float]:
        self.seen.append(copy.deepcopy(segmenter.unet.state_dict()))
        return {"val_dsc": self.scores[len(self.seen) - 1], "val_hd95_mm": 1.0}


def _train(settings: UnetSettings, validation: Validation | None = None, unet: Unet | None = None) -> TrainedUnet:
    return train_segmenter(settings, tiny_patches(), validation, NullRecorder(), "transfer real", unet)


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_validation_step_is_kept() -> None:
    validation = Validation(0.1, 0.6, 0.6, 0.2)
    trained = _train(_settings(8, validations=4), validation)
    assert (trained.step, trained.scores) == (4, {"val_dsc": 0.6, "val_hd95_mm": 1.0})
    assert _equal(trained.segmenter.unet.state_dict(), validation.seen[1])
    assert not _equal(validation.seen[1], validation.seen[3])
    assert [row["step"] for row in trained.curve if "val_dsc" in row] == [2, 4, 6, 8]


def test_a_score_of_zero_is_a_score() -> None:
    validation = Validation(0.0, 0.0)
    trained = _train(_settings(4, validations=2), validation)
    assert trained.step == 2
    assert _equal(trained.segmenter.unet.state_dict(), validation.seen[0])


def test_the_last_weights_without_validation() -> None:
    unet = build_unet(2, 0.0, 1)
    trained = _train(_settings(3), unet=unet)
    assert (trained.step, trained.scores) == (3, {})
    assert trained.segmenter.unet is unet


def test_training_lowers_the_loss() -> None:
    recorder = ListRecorder()
    patches = tiny_patches(24)
    train_segmenter(_settings(60, width=4, batch_size=16, augmentation=False), patches, None, recorder)
    losses = [values["loss"] for _, values in recorder.rows]
    assert losses[-1] < 0.5 * losses[0]
    assert [step for step, _ in recorder.rows] == [20, 40, 60]


def test_a_pre_trained_start_is_used() -> None:
    start = _train(_settings(5)).segmenter.unet
    kept = copy.deepcopy(start.state_dict())
    validation = Validation(0.5)
    _train(_settings(1, learning_rate=1e-9), validation, start)
    fresh = build_unet(2, 0.0, 1).state_dict()
    for name, weight in validation.seen[0].items():
        torch.testing.assert_close(weight, kept[name], atol=1e-6, rtol=0)
    assert not torch.allclose(validation.seen[0]["down.0.first.weight"], fresh["down.0.first.weight"], atol=1e-4)


def test_the_seed_alone_decides() -> None:
    one = _train(_settings()).segmenter.unet.state_dict()
    torch.randn(7)
    assert _equal(one, _train(_settings()).segmenter.unet.state_dict())
    assert not _equal(one, _train(_settings(seed=2), unet=build_unet(2, 0.0, 1)).segmenter.unet.state_dict())
    assert not _equal(one, _train(_settings(augmentation=False), unet=build_unet(2, 0.0, 1)).segmenter.unet.state_dict())


def test_the_input_is_standardised_by_the_training_set() -> None:
    patches = tiny_patches()
    mean, deviation = patches.mean_deviation()
    trained = _train(_settings(2))
    assert (trained.segmenter.mean, trained.segmenter.deviation) == (mean, deviation)
    seen: list[torch.Tensor] = []
    unet = build_unet(2, 0.0, 1)
    unet.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    _train(_settings(30, batch_size=32, augmentation=False), unet=unet)
    batches = torch.cat(seen)
    assert batches.mean().item() == pytest.approx(0.0, abs=0.05)
    assert batches.std().item() == pytest.approx(1.0, abs=0.05)


def test_the_rate_rises_and_falls() -> None:
    factors = [rate_factor(step, 100) for step in range(1, 101)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert factors[9] == 1.0
    assert factors[54] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 91)))
    assert all(a > b for a, b in itertools.pairwise(factors[9:]))
    assert 0 < factors[-1] < 0.01


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_short_trainings_have_a_rate_too(steps: int) -> None:
    factors = [rate_factor(step, steps) for step in range(1, steps + 1)]
    assert factors[0] == 1.0
    assert all(0 < factor <= 1 for factor in factors)


def test_the_rate_reaches_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, before = build_unet(2, 0.0, 1), build_unet(2, 0.0, 1).state_dict()
    monkeypatch.setattr(training, "rate_factor", lambda _step, _steps: 0.0)
    _train(_settings(3), unet=unet)
    assert _equal(unet.state_dict(), before)


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    unet = build_unet(2, 0.0, 1)
    with torch.no_grad():
        unet.last.weight.fill_(math.nan)
    with pytest.raises(InputError, match=r"transfer real: loss is not finite at step 3, diverged.*learning rate") as caught:
        _train(_settings(3), unet=unet)
    assert "\n" not in str(caught.value)


def test_no_patches_are_one_line() -> None:
    with pytest.raises(InputError, match="no patches to train on"):
        train_segmenter(_settings(), tiny_patches().of_patients([]), None, NullRecorder())


def _falls(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The first attempts' losses are those of an empty prediction. Gives the attempts seen."""
    begun: list[int] = []
    draw, real_loss = training._Training.batches, segmentation_loss

    def batches(self: training._Training, attempt: int) -> object:
        begun.append(attempt)
        return draw(self, attempt)

    def loss(logits: torch.Tensor, label: torch.Tensor, form: Loss) -> torch.Tensor:
        loss = real_loss(logits, label, form)
        return loss * 0 + 0.999 if len(begun) <= times else loss

    monkeypatch.setattr(training._Training, "batches", batches)
    monkeypatch.setattr(training, "segmentation_loss", loss)
    monkeypatch.setattr(training, "EMPTY_NOT_BEFORE", 4)  # so that few steps are enough
    return begun


@pytest.mark.parametrize(("falls", "attempts"), [(0, [0]), (1, [0, 1]), (2, [0, 1, 2]), (9, [0, 1, 2])])
def test_an_empty_prediction_is_started_again_twice_at_most(
    falls: int, attempts: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = _falls(monkeypatch, falls)
    trained = _train(_settings(8))
    assert begun == attempts
    assert capsys.readouterr().err.count("starts again") == len(attempts) - 1
    assert [row["step"] for row in trained.curve] == [8]  # the last attempt's alone


def test_with_cross_entropy_there_is_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = _falls(monkeypatch, 9)
    _train(_settings(8, loss="dice_cross_entropy"))
    assert begun == [0]


def test_another_attempt_starts_from_the_first_weights_with_half_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    _falls(monkeypatch, 1)
    again = _train(_settings(8, learning_rate=4e-3))
    monkeypatch.undo()
    straight = _train(_settings(8, learning_rate=2e-3, seed=1001), unet=build_unet(2, 0.0, 1))
    assert _equal(again.segmenter.unet.state_dict(), straight.segmenter.unet.state_dict())


def test_dropout_is_the_same_twice_and_leaves_the_global_generator_alone() -> None:
    weights, states = [], []
    for seed in (7, 8):
        torch.manual_seed(seed)  # what others drew before must not matter
        before = torch.get_rng_state()
        weights.append(_train(_settings(dropout=0.5)).segmenter.unet.state_dict())
        states.append(torch.equal(torch.get_rng_state(), before))
    assert _equal(*weights)
    assert not _equal(weights[0], _train(_settings()).segmenter.unet.state_dict())
    assert all(states)


def test_a_sections_values_go_before_the_unets_own() -> None:
    unet = UnetSettings(width=24, steps=9, dropout=0.3, precision="float32", augmentation=True, seed=4)
    tuned = with_values_of(TransferSettings(patients=(1,), steps=5, learning_rate=1e-4, augmentation=False, seed=7), unet)
    assert (tuned.width, tuned.dropout, tuned.precision) == (24, 0.3, "float32")
    assert (tuned.steps, tuned.learning_rate, tuned.augmentation, tuned.validations, tuned.seed) == (5, 1e-4, False, 3, 7)
    assert with_values_of(ProbeSettings(width=8, steps=2), unet).width == 8
