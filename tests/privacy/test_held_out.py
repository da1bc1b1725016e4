"""People who are held out for the audit: in every attack that needs images alone, and in the others as far as they have a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.patches import PatchSet
from angiosynth.generators.registry import CONTROL
from angiosynth.privacy.audit import Audit
from angiosynth.privacy.audited import AuditData, AuditInputs, sampled
from angiosynth.privacy.copies import OF_LABELS, SPACES, CopyAudit
from angiosynth.privacy.verdict import DRAWN
from angiosynth.settings.audit import AuditSettings
from tests.factories import tiny_patches

SETTINGS = AuditSettings(bootstrap=20, checked=4, compared=12)


def _people(names: list[str], seed: int, each: int = 6) -> PatchSet:
    patches = tiny_patches(each * len(names), seed=seed, patients=1)
    return replace(patches, patient=np.repeat(np.array(names), each))


def _unused(*_: Any) -> Any:
    raise AssertionError("no attack of these tests asks for it")


def _inputs(unlabelled: PatchSet | None, **values: Any) -> AuditInputs:
    return AuditInputs(
        training=_people(["sub-1", "sub-2", "sub-3"], 1),
        test=_people(["sub-4", "sub-5"], 2),
        validation=_people(["sub-6"], 3),
        synthetic=_people([""], 4, 20),
        latent_space=None,
        critic=None,
        control=CONTROL({"width": 4}, 1, 1),
        features=lambda images: images.reshape(len(images), -1)[:, :9].astype(np.float64),
        step=1,
        probes=(),
        at_step=_unused,
        scratch=Path("unused"),
        unlabelled=unlabelled,
        **values,
    )


@pytest.fixture(scope="module")
def audit() -> Audit:
    return Audit(AuditData(_inputs(_people(["sub-8", "sub-9", "sub-7"], 5))), SETTINGS)


def test_each_attack_has_the_people_that_it_can_have(audit: Audit) -> None:
    assert audit.data.others == ("sub-4", "sub-5", "sub-7", "sub-8", "sub-9")
    others = {name: attack["others"] for name, attack in audit.set_attacks().items()}
    assert others == {"images": 5, "images_closest": 5, "features": 5, "medoids": 5, "inference": 2}
    assert set(audit.data.patient[audit.data.spread_rows(2)]) == {"sub-1", "sub-2", "sub-3", "sub-4", "sub-5"}  # of pairs
    assert audit.data.other_points.patient.tolist() == np.repeat([0, 1, 3, 4, 2], 6).tolist()
    assert len(audit.data.other_points.points) == 30


def test_copies_of_people_without_a_label_are_counted_where_none_is_needed(audit: Audit) -> None:
    counted = {space: len(figures["other_counts"]) for space, figures in audit.copies.statistics().items()}
    assert counted == {space: 3 if space in OF_LABELS else 6 for space in SPACES}


def test_searches_among_labels_are_the_same_with_and_without_people_who_have_none(audit: Audit) -> None:
    plain = Audit(AuditData(_inputs(None)), SETTINGS)
    assert plain.copies.people is plain.copies.references.images
    for space in OF_LABELS:
        np.testing.assert_array_equal(plain.copies.synthetic[space].ratios, audit.copies.synthetic[space].ratios)
        assert plain.copies.thresholds[space].ratio == audit.copies.thresholds[space].ratio
    # More people are compared with, so nobody else is farther than before.
    assert (audit.copies.synthetic["copies"].training.apart <= plain.copies.synthetic["copies"].training.apart).all()


def test_a_copy_of_somebody_held_out_is_no_copy_of_a_patient(audit: Audit) -> None:
    """The set holds a patch of sub-8: the nearest of the others is sub-8, and the ratio of the training side is far above that."""
    inputs = _inputs(_people(["sub-8", "sub-9", "sub-7"], 5))
    assert inputs.unlabelled is not None
    inputs.synthetic.image[0] = inputs.unlabelled.image[0]
    search = Audit(AuditData(inputs), SETTINGS).copies.synthetic["copies"]
    person = 3 + 1  # two test patients and one validation patient, then sub-7, sub-8, sub-9
    assert search.others.person[0] == person
    assert search.others.ratio[0] < 0.01 < search.training.ratio[0]


def test_a_sample_has_as_many_patches_of_every_person() -> None:
    patches = _people(["sub-1", "sub-2", "sub-3"], 1, 20)
    names, counts = np.unique(patches.patient[sampled(patches, 12).rows], return_counts=True)
    assert (names.tolist(), counts.tolist()) == (["sub-1", "sub-2", "sub-3"], [4, 4, 4])
    assert sampled(patches, 60).rows.tolist() == sampled(patches, 99).rows.tolist() == list(range(60))
    few = patches.of_patients(["sub-1", "sub-3"])
    assert sampled(few, 2).rows.tolist() == [0, 59]


@pytest.mark.parametrize("unlabelled", [None, _people(["sub-7"], 5)])
def test_label_maps_that_the_generator_draws_are_searched_as_those_of_the_set(unlabelled: PatchSet | None) -> None:
    inputs = _inputs(unlabelled)
    assert Audit(AuditData(inputs), SETTINGS).drawn_copies() == {}
    same = Audit(AuditData(_inputs(unlabelled, drawn_label=np.asarray(inputs.synthetic.label))), SETTINGS)
    searched = same.copies.statistics()
    assert same.drawn_copies() == {DRAWN[space]: searched[space] for space in OF_LABELS}


def test_it_is_those_label_maps_that_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.zeros_like(_inputs(None).synthetic.label)
    leaky = Audit(AuditData(_inputs(None, drawn_label=drawn)), SETTINGS)
    assert drawn.shape == leaky.copies.set.label.shape
    assert leaky.copies.set.label.any()
    searched = []
    search = CopyAudit._search_labels

    def noted(audit: CopyAudit, images: Any, label: Any, *rest: Any) -> Any:
        searched.append(label)
        return search(audit, images, label, *rest)

    monkeypatch.setattr(CopyAudit, "_search_labels", noted)
    leaky.drawn_copies()
    assert any(label is drawn for label in searched)
