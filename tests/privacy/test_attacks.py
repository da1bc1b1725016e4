"""The attackers' scores, each where the answer is known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from angiosynth.generators.gan.models import build_generator
from angiosynth.generators.gan.sampling import GanLatents
from angiosynth.privacy import reconstruction
from angiosynth.privacy.blackbox import inference_scores, scores_with_copies, set_scores
from angiosynth.privacy.controls import few_pairs_of, noisy_copies
from angiosynth.privacy.critic import critic_scores
from angiosynth.privacy.fidelity import manifold_scores, vessel_statistics
from angiosynth.privacy.linkage import HeldOut, PatientPoints, linkage_statistics, neighbour_agreement
from angiosynth.privacy.nearest import Neighbours
from angiosynth.privacy.reconstruction import reconstruction_scores
from tests.factories import tiny_generator, tiny_patches


def _points(*values: float) -> Any:
    return np.array(values, np.float32)[:, None]


def test_the_nearer_the_set_the_higher_the_score() -> None:
    np.testing.assert_allclose(set_scores(_points(0, 5), _points(1, 9)), [-1, -4])


@pytest.mark.parametrize("number", [1, 7, 20])
def test_scores_of_a_set_with_copies_are_those_of_that_set(number: int) -> None:
    rng = np.random.default_rng(number)
    candidates, synthetic, copies = (rng.normal(size=(count, 3)).astype(np.float32) for count in (30, 20, number))
    scores = scores_with_copies(candidates, synthetic, Neighbours.among(candidates, synthetic), copies)
    pool = np.concatenate([synthetic[: 20 - number], copies])
    gaps = np.linalg.norm(candidates[:, None] - pool, axis=2).min(axis=1) / np.sqrt(3)
    np.testing.assert_allclose(scores, -gaps, rtol=1e-5)


def test_a_label_is_predicted_by_the_nearest_image() -> None:
    label = np.zeros((3, 2, 2), np.uint8)
    label[0, 0] = label[1, 0, 0] = 1
    drawn = np.zeros((2, 2, 2), np.uint8)
    drawn[0, 0, 0] = 1
    scores = inference_scores(_points(0, 0, 0), label, _points(0.1, 5), drawn)
    np.testing.assert_allclose(scores, [2 / 3, 1.0, np.nan])


def test_the_generator_draws_its_own_patches_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "STARTS", 64)
    settings = tiny_generator("wgan-gp", noise=False)
    generator = build_generator(settings, 16).eval()
    space = GanLatents(generator, settings, torch.device("cpu"))
    before = [weight.clone() for weight in generator.parameters()]
    with torch.no_grad():
        drawn = generator(torch.randn(4, generator.latent_size, generator=torch.Generator().manual_seed(5)))
    other = torch.rand(4, 2, 16, 16, generator=torch.Generator().manual_seed(6)) * 2 - 1
    scores = reconstruction_scores(space, torch.cat([drawn, other]), 30, 1)
    assert scores[:4].min() > scores[4:].max()
    assert (reconstruction_scores(space, drawn, 0, 1) <= scores[:4]).all()  # steps bring it nearer
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))


class Counting:
    """A critic that looks at its whole batch, as minibatch discrimination does."""

    batch_size = 4

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def scores(self, pairs: Tensor) -> Tensor:
        self.sizes.append(len(pairs))
        return pairs[:, 0, 0, 0]

    def encode(self, image: Tensor, label: Tensor) -> Tensor:
        raise AssertionError("the pairs are encoded already")


def test_the_critic_sees_whole_batches_and_every_pair_gets_its_own_score() -> None:
    critic = Counting()
    pairs = torch.arange(10.0)[:, None, None, None].expand(10, 2, 2, 2)
    scores = critic_scores(critic, lambda rows: pairs[torch.from_numpy(rows)], 10, 1)
    assert scores.tolist() == list(range(10))
    assert critic.sizes == [4, 4, 4]


def test_neighbours_of_one_patient_agree() -> None:
    training, patient = _points(0, 1, 2, 10, 11, 12), np.array([0, 0, 0, 1, 1, 1])
    share, owner = neighbour_agreement(_points(0, 12), PatientPoints(training, patient))
    np.testing.assert_allclose(share, [0.4, 0.4])  # of five neighbours three are of one, two of the other: 4 of 10 pairs
    assert owner.tolist() == [0, 1]


def test_a_set_that_leads_back_is_distinguished_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    training, patient = rng.normal(size=(200, 3)).astype(np.float32), np.repeat(np.arange(4), 50)
    training[patient == 2] += 4
    others, who = rng.normal(size=(60, 3)).astype(np.float32), np.repeat(np.arange(3), 20)
    real = PatientPoints(training, patient)
    held_out = HeldOut.of(PatientPoints(others, who), real)
    leads = linkage_statistics(training[patient == 2] + 0.1, held_out, real, 50, 1)
    assert leads["top_share"] == 1.0
    assert leads["excess_low"] > 0.3
    assert leads["chance"] == pytest.approx(0.25)
    plain = linkage_statistics(rng.normal(size=(60, 3)).astype(np.float32), held_out, real, 50, 1)
    assert plain["excess_low"] <= 0.0 <= plain["excess_high"]


def test_precision_recall_density_coverage_by_hand() -> None:
    real, synthetic = _points(0, 1, 2, 3), _points(0.5, 1.5, 2.5, 100)
    scores = manifold_scores(real, synthetic, 1)  # balls of radius 1 about 0, 1, 2, 3; 1 about three synthetic points, 97.5 about 100
    assert scores["precision"] == 0.75
    assert scores["coverage"] == 1.0
    assert scores["density"] == pytest.approx((2 + 2 + 2 + 0) / 4)
    assert scores["recall"] == 1.0
    assert manifold_scores(real, real + np.float32(50), 1) == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_vessels_by_hand() -> None:
    label = np.zeros((3, 8, 8), np.uint8)
    label[0, 2:5, :] = 1  # a band three wide
    label[1, 0, 0] = label[1, 7, 7] = 1  # two single pixels at the rim
    scores = vessel_statistics(label)
    assert scores["fraction"] == pytest.approx(26 / 192)
    assert scores["calibre_px"] == pytest.approx((3 + 1 + 1) / 3)
    assert (scores["components"], scores["empty"]) == (1.0, 1 / 3)


def test_planted_copies_are_nearly_the_patches_they_come_from() -> None:
    patches = tiny_patches()
    images, rows = noisy_copies(patches.image, 5, 1)
    assert 0 < np.abs(images.astype(int) - patches.image[rows]).mean() < 6
    few = few_pairs_of(patches, "sub-02", 3, 1)
    assert set(few.patient[few.rows]) == {"sub-02"}
    assert len(few) == 3
