"""Scores on validation patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from angiosynth.errors import InputError
from angiosynth.metrics.segmentation import dsc, hd95_mm
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.unet import build_unet
from angiosynth.segmentation.validation import validation_scores, validator
from tests.factories import make_scan


def test_a_perfect_and_an_empty_answer() -> None:
    scans = [make_scan(seed=seed) for seed in (1, 2)]
    assert validation_scores(scans, lambda scan: scan.truth) == {"val_dsc": 1.0, "val_hd95_mm": 0.0}
    assert validation_scores(scans, lambda scan: np.zeros_like(scan.truth))["val_dsc"] == 0.0


def test_scores_are_means_over_patients() -> None:
    scans = [make_scan(seed=1), make_scan((14, 14, 4), seed=2)]
    answers = [scans[0].truth, np.roll(scans[1].truth, 1, axis=0)]
    result = validation_scores(scans, lambda scan: answers[0] if scan is scans[0] else answers[1])
    assert result["val_dsc"] == pytest.approx((1 + dsc(scans[1].truth, answers[1])) / 2)
    assert result["val_hd95_mm"] == pytest.approx(hd95_mm(scans[1].truth, answers[1], scans[1].spacing_mm) / 2)
    assert 0.5 < result["val_dsc"] < 1.0
    assert result["val_hd95_mm"] > 0


def test_a_validator_asks_the_segmenter() -> None:
    scan = make_scan()
    unet = build_unet(2, 0.0, 1)
    with torch.no_grad():
        unet.last.bias.fill_(50.0)  # type: ignore[union-attr]
        unet.last.weight.zero_()  # everything is a vessel, but only within the brain
    validate = validator([scan])
    assert validate is not None
    assert validate(Segmenter(unet, 0.0, 1.0, "float32"))["val_dsc"] == pytest.approx(dsc(scan.truth, scan.brain))


def test_a_patient_without_label_is_refused() -> None:
    with pytest.raises(InputError, match="no vessel label"):
        validation_scores([replace(make_scan(), label=None)], lambda scan: scan.brain)
