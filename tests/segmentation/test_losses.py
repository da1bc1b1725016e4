"""Dice loss with numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from angiosynth.segmentation.losses import dice_loss, segmentation_loss

SURE = 50.0


def _batch(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 2)


def test_probabilities_by_hand() -> None:
    chances = (0.9, 0.2, 0.6, 0.5)
    logits = _batch(*(math.log(p / (1 - p)) for p in chances))
    # overlap 0.9 + 0.6; 1 - (2 * 1.5 + 1) / (2.2 + 2 + 1)
    assert dice_loss(logits, _batch(1, 0, 1, 0)).item() == pytest.approx(1 - 4.0 / 5.2, rel=1e-5)


def test_one_quotient_for_the_whole_batch_not_one_a_sample() -> None:
    # first sample perfect with one voxel, second misses two: 1 - (2 * 1 + 1) / (1 + 3 + 1)
    assert dice_loss(_batch(SURE, -SURE, -SURE, -SURE), _batch(1, 0, 1, 1)).item() == pytest.approx(0.4, abs=1e-6)


def test_best_and_worst() -> None:
    assert dice_loss(_batch(SURE, -SURE), _batch(1, 0)).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(_batch(-SURE, SURE), _batch(1, 0)).item() == pytest.approx(1 - 1 / 3, abs=1e-6)


def test_nothing_found_where_nothing_is() -> None:
    assert dice_loss(_batch(-SURE, -SURE), _batch(0, 0)).item() == pytest.approx(0.0, abs=1e-6)


def test_the_smoothing_term() -> None:
    assert dice_loss(_batch(-SURE, SURE), _batch(1, 0), smooth=2.0).item() == pytest.approx(0.5, abs=1e-6)


def test_half_precision_logits_are_summed_in_full() -> None:
    label = torch.ones(1, 1, 300, 300)
    assert dice_loss(torch.full_like(label, SURE, dtype=torch.float16), label).item() == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_raises_vessels_and_lowers_the_rest() -> None:
    logits = _batch(0.0, 0.0).requires_grad_(True)
    dice_loss(logits, _batch(1, 0)).backward()
    assert logits.grad is not None
    first, second = logits.grad.flatten().tolist()
    assert first < 0 < second


def test_dice_alone_and_with_cross_entropy_by_hand() -> None:
    chances = (0.9, 0.2)
    logits, label = _batch(*(math.log(p / (1 - p)) for p in chances)), _batch(1, 0)
    dice = 1 - (2 * 0.9 + 1) / (1.1 + 1 + 1)
    assert segmentation_loss(logits, label, "dice").item() == pytest.approx(dice, rel=1e-5)
    entropy = -(math.log(0.9) + math.log(0.8)) / 2
    assert segmentation_loss(logits, label, "dice_cross_entropy").item() == pytest.approx(dice + entropy, rel=1e-5)


def test_only_cross_entropy_leads_out_of_the_empty_prediction() -> None:
    slopes = {}
    for form in ("dice", "dice_cross_entropy"):
        logits = torch.full((1, 1, 8, 8), -20.0, requires_grad=True)
        label = torch.zeros(1, 1, 8, 8)
        label[..., 0, 0] = 1.0
        segmentation_loss(logits, label, form).backward()
        assert logits.grad is not None
        slopes[form] = -logits.grad[0, 0, 0, 0].item()
    assert slopes["dice"] < 1e-8
    assert slopes["dice_cross_entropy"] == pytest.approx(1 / 64, rel=1e-3)
