"""A generator's score: the DSC of a small U-net that was trained on its pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.generators.gan.models import build_gan
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.metrics.segmentation import dsc
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.probe import UnetProbe
from angiosynth.settings import ProbeSettings
from tests.factories import make_scan, tiny_generator, tiny_patches

PROBE = ProbeSettings(width=2, steps=2, batch_size=4, pairs=8, slice_stride=2, seed=5)


def _sampler() -> GanSampler:
    settings = tiny_generator("wgan-gp")
    return GanSampler(build_gan(settings, 16).generator, settings, torch.device("cpu"))


def test_the_probe_thins_out_slices() -> None:
    scan = make_scan((20, 24, 5))
    (thin,) = UnetProbe([scan], PROBE, tiny_patches()).thinned
    for part, whole in ((thin.image, scan.image), (thin.brain, scan.brain), (thin.truth, scan.truth)):
        np.testing.assert_array_equal(part, whole[:, :, [0, 2, 4]])


def test_the_probe_trains_on_fresh_pairs_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, float | None]] = []
    sampler = _sampler()
    draw = sampler.pairs

    def pairs(count: int, seed: int, threshold: float | None = None) -> tuple[ImagePatches, LabelPatches]:
        asked.append((count, seed, threshold))
        return draw(count, seed, threshold)

    monkeypatch.setattr(sampler, "pairs", pairs)
    probe = UnetProbe([make_scan(seed=1), make_scan(seed=2)], PROBE, tiny_patches())
    result = probe(sampler, 30)
    assert asked == [(8, 35, None)]
    assert set(result) == {"probe_dsc", "probe_dsc_real", "fd_unet", "fd_unet_floor"}
    assert 0 <= result["probe_dsc"] <= 1
    assert probe(sampler, 30) == result


def test_the_distance_is_none_for_the_real_patches_and_large_for_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tiny_patches(200, 16)
    sampler = _sampler()
    probe = UnetProbe([make_scan()], PROBE.model_copy(update={"pairs": 200}), real)
    sets = {"real": real.image, "noise": np.random.default_rng(1).integers(0, 256, real.image.shape).astype(np.uint8)}
    result = {}
    for name, images in sets.items():
        monkeypatch.setattr(sampler, "pairs", lambda *_args, images=images, **_named: (np.asarray(images), np.asarray(real.label)))
        result[name] = probe(sampler, 1)
    assert result["real"]["fd_unet"] == pytest.approx(0, abs=1e-6)
    assert result["noise"]["fd_unet"] > 3 * result["noise"]["fd_unet_floor"] > 0
    assert result["real"]["fd_unet_floor"] == result["noise"]["fd_unet_floor"]


def test_the_probes_score_is_that_of_its_unet(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [make_scan(seed=1), make_scan(seed=2)]
    monkeypatch.setattr(Segmenter, "segment", lambda _self, image, _brain: image > 0.1)
    result = UnetProbe(scans, PROBE, tiny_patches())(_sampler(), 1)
    expected = [dsc(scan.truth[:, :, ::2], scan.image[:, :, ::2] > 0.1) for scan in scans]
    assert result["probe_dsc"] == pytest.approx(np.mean(expected))
    assert result["probe_dsc"] > 0.1
    assert result["probe_dsc_real"] == result["probe_dsc"]  # whatever it was trained on, this one marks what is bright
