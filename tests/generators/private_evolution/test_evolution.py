"""Private evolution as a whole: it comes nearer to a hospital's scanner, looks at nothing but votes, and tells what it promises."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from angiosynth.arrays import to_levels
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.private_evolution import evolution as evolution_module
from angiosynth.generators.private_evolution.evolution import Evolution, evolve
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.noise import discrete_gaussian
from angiosynth.generators.private_evolution.simulator import (
    DEFAULTS,
    Simulator,
    SimulatorSampler,
    cut,
    draw_centres,
    draw_unlabelled_centres,
    head_of,
    scan_head,
)
from angiosynth.generators.private_evolution.space import Candidate, point_of
from angiosynth.generators.registry import with_defaults
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder
from tests.factories import few_samples, tiny_generator, tiny_patches
from tests.generators.probe import Probe

HIDDEN = Candidate(1, 0.05, 0.3, 2.6, 0.6, 1.0, 0.03, 0.5, 0.1)


def tiny(**values: Any) -> PrivatePhantomSettings:
    settings = tiny_generator("private-phantom", **values)
    assert isinstance(settings, PrivatePhantomSettings)
    return settings


@pytest.fixture(autouse=True)
def _few_samples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where the hidden scanner is to be come near to."""
    if "hidden_scanner" not in request.node.name:
        few_samples(monkeypatch)


def hospital(patients: int, candidate: Candidate = HIDDEN, size: int = 16, labelled: bool = True) -> PatchSet:
    """Patches of drawn patients of one scanner, on the grid of the tiny settings; the labels are noise, or without labels empty."""
    settings, images, names = tiny(), [], []
    for number in range(patients):
        head = head_of(settings.shape, settings.spacing_mm, 77, number % 2, False)
        rng = np.random.default_rng([5, number])
        image = scan_head(head, candidate, (0.5, 99.9), rng)
        centres = draw_centres(head, settings, 60, rng) if labelled else draw_unlabelled_centres(head, image, settings, 60, rng)
        images.append(to_levels(cut(image, centres, size, -1.0)))
        names += [f"sub-{number:03d}"] * 60
    stack = np.concatenate(images)
    label = np.random.default_rng(0).integers(0, 1 + labelled, stack.shape).astype(np.uint8)
    return PatchSet(stack, label, np.array(names), np.arange(len(stack)), tiny_patches().meta | {"labelled": labelled}, Path("tiny"))


def run(settings: PrivatePhantomSettings, patches: PatchSet, folder: Path) -> Any:
    return evolve("p", settings, patches, Probe(), Checkpoints(folder), ListRecorder())


def miss(weights: dict[str, torch.Tensor], candidate: Candidate = HIDDEN) -> float:
    """Distance of the winners' mean from the hidden noise, contrasts and blur, which images show best."""
    shown = [3, 4, 6]
    mean = (weights["weights"] @ weights["points"]).numpy()
    return float(np.abs(mean - point_of(candidate))[shown].mean())


@pytest.mark.parametrize(
    ("proposals", "labelled"), [pytest.param("winners", True, marks=pytest.mark.long), ("posterior", True), ("posterior", False)]
)
def test_many_votes_lead_to_the_hidden_scanner(tmp_path: Path, proposals: str, labelled: bool) -> None:
    settings = tiny(candidates=16, kept=3, steps=3, epsilon=8.0, proposals=proposals)
    weights = run(settings, hospital(25, labelled=labelled), tmp_path).weights
    assert miss(weights) < 0.6 * float(np.abs(point_of(DEFAULTS) - point_of(HIDDEN))[[3, 4, 6]].mean())


def test_samples_of_the_posterior_go_on_bit_for_bit_after_a_stop() -> None:
    settings, patches = tiny(proposals="posterior"), hospital(4)
    whole, first, second = (Evolution(settings, patches) for _ in range(3))
    for training in (whole, whole, first):
        training.train_step()
    second.restore(copy.deepcopy(first.state()))
    second.train_step()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name])
    assert not torch.equal(whole.average.points, first.average.points)


def test_labels_and_the_order_of_patches_play_no_part(tmp_path: Path) -> None:
    patches = hospital(4)
    turned = PatchSet(patches.image[::-1], 1 - patches.label, patches.patient[::-1], patches.rows, patches.meta, patches.folder)
    one, other = (run(tiny(), each, tmp_path / str(place)).weights for place, each in enumerate((patches, turned)))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("proposals", ["winners", "posterior"])
def test_after_the_noise_nothing_depends_on_patients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proposals: str) -> None:
    """With the noisy sums given, other patients change nothing: neither weights nor what a resume file holds."""
    fixed = np.array([5, 30, -2, 14, 3, 9])
    monkeypatch.setattr(Evolution, "_noisy_votes", lambda self, described: fixed)
    states = []
    for patches in (hospital(4), tiny_patches(patients=6)):
        training = Evolution(tiny(proposals=proposals), patches)
        for _ in range(3):
            training.train_step()
        states.append(training.state())
    for part in ("average", "population"):
        assert all(torch.equal(states[0][part][name], states[1][part][name]) for name in states[0][part])
    assert torch.equal(states[0]["random"], states[1]["random"])


def test_every_sum_of_votes_gets_the_noise_that_was_accounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[float, int]] = []

    def noise(variance: Any, count: int, source: Any) -> Any:
        asked.append((float(variance), count))
        return discrete_gaussian(variance, count, source)

    monkeypatch.setattr(evolution_module, "discrete_gaussian", noise)
    trained = run(tiny(), hospital(3), tmp_path)
    assert asked == [(trained.promise["noise_deviation"] ** 2, 6)] * 4
    assert trained.promise["patients"] == 3


def test_more_patients_than_delta_allows_and_patchwise_scaling_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"generators\.p\.delta: 0\.01 promises nothing to 120 patients"):
        run(tiny(delta=0.01), tiny_patches(120, patients=120), tmp_path)
    patches = tiny_patches()
    patches.meta["intensity"] = {"rule": "patch"}
    with pytest.raises(InputError, match=r"cohort\.intensity\.rule volume"):
        run(tiny(), patches, tmp_path)


def test_the_noise_is_secure_by_default_and_defaults_of_others_choose_no_checkpoint() -> None:
    assert PrivatePhantomSettings(width=4).noise_source == "secure"
    filled = with_defaults({"checkpoint_choice": "probe_dsc", "probes": 3, "width": 9}, {"kind": "private-phantom"})
    assert filled == {"kind": "private-phantom", "width": 9}


@pytest.mark.parametrize(
    ("values", "words"),
    [({"vessel_share": 0.8, "bright_share": 0.3}, "more than 1 together"), ({"votes": 7}, "at most the number of candidates")],
)
def test_settings_that_contradict_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny(**values)


def test_a_scan_is_described_around_its_own_brightest_voxels_where_labels_are_not_looked_at() -> None:
    settings, rng = tiny(), np.random.default_rng(1)
    head = head_of(settings.shape, settings.spacing_mm, 77, 0, False)
    image = scan_head(head, HIDDEN, (0.5, 99.9), rng)
    centres = draw_unlabelled_centres(head, image, settings, 4000, rng)
    brain = head.anatomy.brain
    bright = image >= np.quantile(image[brain], 0.99)
    assert brain[tuple(centres.T)].all()
    assert bright[tuple(centres.T)].mean() == pytest.approx(0.7 + 0.3 * 0.01, abs=0.05)  # vessel_share and bright_share together


def test_a_set_is_the_beginning_of_a_longer_one_and_its_labels_are_exact() -> None:
    simulator = Simulator(tiny(), 16)
    short, long = (SimulatorSampler(simulator).pairs(count, 3) for count in (20, 280))
    np.testing.assert_array_equal(short[0], long[0][:20])
    np.testing.assert_array_equal(short[1], long[1][:20])
    head = head_of(simulator.settings.shape, simulator.settings.spacing_mm, 3, 0, False)
    assert ((head.fraction >= 0.5) <= head.anatomy.brain).all()
    fraction = next(simulator.drawn(20, 3))[1]
    np.testing.assert_array_equal(short[1], fraction >= 0.0)
    assert set(np.unique(np.round((fraction + 1) * 32, 5) % 1)) == {0.0}  # of 64 sub-voxels
