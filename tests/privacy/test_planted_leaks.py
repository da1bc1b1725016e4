"""Every kind of leak that the error rates are measured with, planted among patches of strangers: some search must tell it from chance.

People are drawn, not scanned, and a set is small, so that all of it takes seconds; `benchmarks/audit_errors.py` makes whole audits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from angiosynth.data.patches import PatchSet
from angiosynth.generators.registry import CONTROL
from angiosynth.privacy.audit import Audit
from angiosynth.privacy.audited import AuditData, AuditInputs
from angiosynth.privacy.copies import Pairs
from angiosynth.privacy.copy_counts import copy_statistics
from angiosynth.privacy.memorisation import CopySearch, Suspicion
from angiosynth.privacy.nearest import as_points
from angiosynth.settings.audit import AuditSettings
from benchmarks.audit_sets import SPOILERS

SIDE, EACH, PAIRS = 16, 24, 2400
SETTINGS = AuditSettings(bootstrap=20, checked=60, compared=240)
CORRECTED = SETTINGS.limits.alpha / 14  # of the first of an audit's measures (Holm)


def _patches(people: list[str], seed: int, each: int = EACH) -> PatchSet:
    """Textures with blots, their vessels; no two alike."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal((len(people) * each, SIDE, SIDE)), (0, 1.2, 1.2))
    image = np.clip(110 + 160 * noise, 0, 255).astype(np.uint8)
    blots = gaussian_filter(rng.standard_normal(image.shape), (0, 1.5, 1.5))
    label = (blots > np.quantile(blots, 0.9)).astype(np.uint8)
    return PatchSet(image, label, np.repeat(np.array(people), each), np.arange(len(image)), {}, Path("drawn"))


def _unused(*_: Any) -> Any:
    raise AssertionError("no search for copies asks for it")


@pytest.fixture(scope="module")
def audit() -> Audit:
    """Eight people were trained on, eight were not; the set is of strangers."""
    names = [f"sub-{number:02d}" for number in range(16)]
    inputs = AuditInputs(
        training=_patches(names[:8], 1),
        test=_patches(names[8:14], 2),
        validation=_patches(names[14:], 3),
        synthetic=_patches([""], 4, PAIRS),
        latent_space=None,
        critic=None,
        control=CONTROL({"width": 4}, 1, 1),
        features=lambda images: images.reshape(len(images), -1)[:, ::5].astype(np.float64),
        step=1,
        probes=(),
        at_step=_unused,
        scratch=Path("unused"),
    )
    return Audit(AuditData(inputs), SETTINGS)


# What replaces patches of strangers: rows of training patches, and how they are spoiled.
MOST = 60  # copies of a kind
SIZES = {0.01: 2400, 0.03: 2000, 0.1: 600}  # pairs of a set with such a share of copies: where it is great, fewer pairs show it
COPIED = {kind: (np.random.default_rng(1).choice(8 * EACH, MOST, replace=False), kind) for kind in SPOILERS}
# As a generator draws them that knows few pairs by heart: overfitted to one patient, or trained on a few patients for long.
BY_HEART = {
    "gan-one": (np.resize(np.arange(8), MOST), "noisy"),
    "gan-few": (np.resize(np.concatenate([np.arange(EACH * one, EACH * one + 20) for one in range(3)]), MOST), "noisy"),
}
LEAKS = {**COPIED, **BY_HEART}


def _spoiled(audit: Audit, rows: np.ndarray[Any, Any], kind: str) -> Pairs:
    training = audit.copies.training
    return Pairs(*SPOILERS[kind](training.image[rows], training.label[rows], np.random.default_rng(7)))


@pytest.fixture(scope="module")
def searches(audit: Audit) -> dict[str, CopySearch]:
    """One search for all: the strangers' pairs, then those of each leak. A pair's distances depend on no other pair."""
    parts = [audit.copies.set, *(_spoiled(audit, *leak) for leak in LEAKS.values())]
    together = Pairs(np.concatenate([one.image for one in parts]), np.concatenate([one.label for one in parts]))
    return audit.copies.search(together, MOST * len(LEAKS) + 60, "planted")


def _statistics(audit: Audit, searches: dict[str, CopySearch], leak: str = "", share: float = 0.0) -> dict[str, dict[str, Any]]:
    """Of the set of which a share was replaced by a leak."""
    pairs = SIZES.get(share, PAIRS)
    count = round(share * pairs)
    first = PAIRS + MOST * list(LEAKS).index(leak) if leak else 0
    rows = np.concatenate([np.arange(pairs - count), first + np.arange(count)])
    statistics = {}
    for space, search in searches.items():
        sides = (Suspicion(one.ratio[rows], one.apart[rows], one.person[rows]) for one in (search.training, search.others))
        training, others = sides
        part = CopySearch(training, others, search.checked, search.near)
        statistics[space] = copy_statistics(part, audit.copies.thresholds[space], (8, 8), SETTINGS.bootstrap, 1)
    return statistics


def test_patches_of_strangers_are_no_leak(audit: Audit, searches: dict[str, CopySearch]) -> None:
    assert all(one["p"] > 0.05 for one in _statistics(audit, searches).values())


@pytest.mark.parametrize("share", list(SIZES))
@pytest.mark.parametrize("kind", list(COPIED))
def test_copies_are_found(audit: Audit, searches: dict[str, CopySearch], kind: str, share: float) -> None:
    seen = _statistics(audit, searches, kind, share).values()
    assert any(one["p"] <= CORRECTED and one["copies"] > one["copies_held_out"] + SETTINGS.limits.copies for one in seen)


@pytest.mark.parametrize("leak", list(BY_HEART))
def test_a_generator_that_knows_few_pairs_by_heart_is_found(audit: Audit, searches: dict[str, CopySearch], leak: str) -> None:
    """Its pairs are theirs over and over, noisy; the patients whom it knows are the worst placed."""
    seen = _statistics(audit, searches, leak, 0.1)
    assert seen["copies"]["p_worst"] <= CORRECTED
    assert seen["copies"]["copies"] > SETTINGS.limits.copies


def test_one_patient_whom_the_set_knows_stands_out_among_eight(audit: Audit) -> None:
    """Half of the set is of one patient: the attack's AUC over eight is small, that patient's excess is not."""
    spoiled = _spoiled(audit, np.resize(np.arange(EACH), PAIRS // 2), "noisy")
    data = AuditData(audit.data.inputs)
    data.pixels["synthetic"] = np.concatenate([as_points(spoiled.image), data.pixels["synthetic"][PAIRS // 2 :]])
    images = Audit(data, SETTINGS).set_attacks()["images"]
    assert images["worst_p"] <= CORRECTED
    assert images["auc"] < 0.75
