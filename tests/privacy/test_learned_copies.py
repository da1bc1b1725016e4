"""The learnt copy detector: its loss by hand, its alterations, and that it recognises deformed copies that no search by poses does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from angiosynth.arrays import ImagePatches
from angiosynth.data.patches import PatchSet
from angiosynth.privacy import learned_copies
from angiosynth.privacy.audited import AuditData, AuditInputs
from angiosynth.privacy.copies import LEARNED, SPACES, CopyAudit
from angiosynth.privacy.drawn_patches import drawn_patches
from angiosynth.privacy.learned_copies import BRIGHTNESS, TEMPERATURE, CopyDetector, Embedding, altered, contrastive_loss, train_detector
from angiosynth.privacy.references import References
from angiosynth.settings import PatchSettings, ScannerSettings
from angiosynth.settings.audit import AuditSettings
from benchmarks.audit_sets import DISTORTERS

SIDE, STEPS = 16, 30


def _textures(count: int, seed: int) -> ImagePatches:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((count, SIDE, SIDE)), (0, 1.5, 1.5))
    return np.clip(96 + 200 * noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Of a detector that learnt from textures instead of heads, which take longer to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_copies, "_training_patches", lambda size, seed: _textures(400, seed))
        return train_detector(SIDE, STEPS, 3)


def test_the_loss_of_two_patches_by_hand() -> None:
    """Each view has one partner in its direction, and two others at right angles."""
    points = torch.eye(2).repeat(2, 1)
    by_hand = math.log(math.exp(1 / TEMPERATURE) + 2) - 1 / TEMPERATURE
    assert float(contrastive_loss(points)) == pytest.approx(by_hand, abs=1e-6)
    # Partners apart and strangers together: the partner is one of two at right angles.
    apart = torch.eye(2)[[0, 0, 1, 1]]
    assert float(contrastive_loss(apart)) == pytest.approx(math.log(math.exp(1 / TEMPERATURE) + 2), rel=1e-5)


def test_alterations_depend_on_the_seed_alone_and_leave_flat_patches_flat() -> None:
    images = torch.linspace(-1, 1, SIDE * SIDE).view(1, 1, SIDE, SIDE).repeat(3, 1, 1, 1)
    first, again, other = (altered(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    flat = altered(torch.zeros(8, 1, SIDE, SIDE), torch.Generator().manual_seed(1))
    assert float(flat.mean(dim=(1, 2, 3)).abs().max()) <= BRIGHTNESS + 0.02  # noise has a mean too
    assert float(flat.std(dim=(1, 2, 3)).max()) < 0.1


def test_points_lie_on_the_sphere_and_brightness_is_no_content(weights: dict[str, np.ndarray]) -> None:
    images = _textures(5, 11) // 2
    points = CopyDetector(weights).embed(images)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(CopyDetector(weights).embed(images + 20), points, atol=1e-4)


def test_training_teaches_to_recognise_altered_patches(weights: dict[str, np.ndarray]) -> None:
    images = _textures(300, 12)
    copies, _ = DISTORTERS["altered"](images, np.zeros_like(images), np.random.default_rng(1))

    def recognised(detector: CopyDetector) -> int:
        return int(((detector.embed(copies) @ detector.embed(images).T).argmax(axis=1) == np.arange(300)).sum())

    torch.manual_seed(3)
    untrained = CopyDetector({name: values.numpy() for name, values in Embedding().state_dict().items()})
    assert recognised(CopyDetector(weights)) > recognised(untrained) + 20


EACH, COPIED = 24, 24


def _people(numbers: range, seed: int) -> PatchSet:
    image = _textures(EACH * len(numbers), seed)
    names = np.repeat([f"sub-{number:02d}" for number in numbers], EACH)
    return PatchSet(image, (image > 150).astype(np.uint8), names, np.arange(len(image)), {}, Path("drawn"))


def _unused(*_: Any) -> Any:
    raise AssertionError("no search for copies asks for it")


@pytest.fixture(scope="module")
def data(weights: dict[str, np.ndarray]) -> AuditData:
    """A set of strangers with deformed copies of training patches in front; the references know the detector."""
    training, synthetic = _people(range(4), 21), _people(range(10, 20), 24)
    rows = np.random.default_rng(5).choice(len(training), COPIED, replace=False)
    copies = DISTORTERS["deformed"](training.image[rows], training.label[rows], np.random.default_rng(6))
    for array, copied in zip((synthetic.image, synthetic.label), copies, strict=True):
        array[:COPIED] = copied
    inputs = AuditInputs(
        training=training,
        test=_people(range(4, 7), 22),
        validation=_people(range(7, 8), 23),
        synthetic=synthetic,
        latent_space=None,
        critic=None,
        control=None,
        features=lambda images: images.reshape(len(images), -1)[:, ::5].astype(np.float64),
        step=1,
        probes=(),
        at_step=_unused,
        scratch=Path("unused"),
    )
    return AuditData(inputs, References({"copy detector": weights}))


def test_the_detector_counts_copies_that_no_search_by_poses_does(data: AuditData) -> None:
    settings = AuditSettings(bootstrap=20, checked=60, compared=96, detector_steps=STEPS)
    audit = CopyAudit(data, settings)
    passed = {space: audit.thresholds[space].passed(search.training) for space, search in audit.synthetic.items()}
    assert set(passed) == {*SPACES, LEARNED}
    seen = {space: int(of[:COPIED].sum()) for space, of in passed.items()}
    assert seen[LEARNED] > max(seen[space] for space in SPACES)
    assert int(passed[LEARNED][COPIED:].sum()) <= 1
    assert audit.statistics()[LEARNED]["p_spread"] < 0.05
    rows = np.flatnonzero(passed[LEARNED][:COPIED])
    people = audit.synthetic[LEARNED].training.person[rows]
    assert (people == np.random.default_rng(5).choice(4 * EACH, COPIED, replace=False)[rows] // EACH).all()  # of the right patient


def test_drawn_patches_are_centred_on_vessels_first() -> None:
    scanner = ScannerSettings(patients=1, shape=(64, 64, 8), spacing_mm=(2.4, 2.4, 5.0))
    settings = PatchSettings(size=SIDE, on_vessels=4, on_bright=2, in_brain=2)
    image, label = drawn_patches(scanner, settings, 1, 1, "detector")
    assert image.shape == label.shape == (8, SIDE, SIDE)
    assert image.dtype == label.dtype == np.uint8
    assert label[:4, SIDE // 2, SIDE // 2].all()
    assert not label[4:, SIDE // 2, SIDE // 2].any()
    assert len(np.unique(image, axis=0)) == 8
