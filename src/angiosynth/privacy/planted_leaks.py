"""Run the attacks on leaks that were made on purpose (`controls`): if they miss these, their negative result on the set is no evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from angiosynth.generators.base import GeneratorSettings
from angiosynth.privacy.audited import AuditData, Encoder, RealData, candidates_of, encoded_pairs, evenly
from angiosynth.privacy.blackbox import CLOSEST, scores_with_copies, set_scores
from angiosynth.privacy.controls import few_pairs_of, noisy_copies, train_overfitted
from angiosynth.privacy.copies import CopyAudit, Pairs
from angiosynth.privacy.critic import critic_scores
from angiosynth.privacy.linkage import neighbour_agreement
from angiosynth.privacy.membership import auc, by_patient, rank_p
from angiosynth.privacy.nearest import Neighbours, as_points
from angiosynth.privacy.reconstruction import reconstruction_scores
from angiosynth.settings.audit import AuditSettings

UNSEEN = 64  # test patients' patches that serve as non-members of the overfitted generator
DRAWN = 500  # patches that the overfitted generator draws
PLANTED_CHECKED = 200  # most planted copies that are searched for


def attack_planted_copies(data: AuditData, copies: CopyAudit, neighbours: Neighbours, settings: AuditSettings) -> list[dict[str, Any]]:
    """Replace part of the set by noisy training patches, and run the searches for copies and the nearest-image attacks.

    Args:
        data: the audit's patches.
        copies: the searches for copies.
        neighbours: the nearest synthetic image of every candidate patch.
        settings: the audit's settings.

    Returns:
        For each share of `settings.planted`: share; for each space of a search for copies the detected share of the set; auc and p of
        the better of the two nearest-image attacks.
    """
    count, candidates = len(data.inputs.synthetic), candidates_of(data.pixels)
    results = []
    for share in settings.planted:
        number = max(1, round(share * count))
        images, rows = noisy_copies(data.images["training"], number, settings.seed)
        scores = scores_with_copies(candidates, data.pixels["synthetic"], neighbours, as_points(images))
        # A few copies change only a patient's closest patches, many change all; an attacker would use the better score.
        attacks = [data.split(by_patient(scores, data.patient, closest)) for closest in (1.0, CLOSEST)]
        best = min(attacks, key=lambda attack: rank_p(attack.members, attack.others))
        checked = Pairs(images, data.labels["training"][rows]).select(evenly(number, PLANTED_CHECKED))
        detected = copies.detected(checked, f"planted {share:.0%}")
        figures = {"auc": auc(best.members, best.others), "p": rank_p(best.members, best.others)}
        results.append({"share": share, **{space: rate * number / count for space, rate in detected.items()}, **figures})
    return results


def attack_overfitted_generator(data: RealData, control: GeneratorSettings, settings: AuditSettings) -> dict[str, Any]:
    """Overfit a generator to a few patches of one patient, and run the attacks that must distinguish these from others'.

    Args:
        data: the audit's real patches.
        control: settings of the generator.
        settings: the audit's settings.

    Returns:
        For each holder auc and p over patches. linkage: share of drawn patches whose nearest training patch belongs to that patient, the
        same share of test patients' patches, and whether the patient is the most frequent one.
    """
    inputs, seed = data.real, settings.seed
    few = few_pairs_of(inputs.training, data.members[0], settings.overfit_patches, seed)
    sampler, space, critic = train_overfitted(control, few, inputs.scratch / "overfitted")
    image, _ = sampler.pairs(DRAWN, seed)
    drawn = as_points(image)
    # The unit is the patch, since there is only one person in the training set.
    rows = evenly(len(inputs.test), UNSEEN)
    candidates = np.concatenate([few.image[few.rows], data.images["test"][rows]])  # members first

    def pairs(encoder: Encoder) -> Tensor:
        return torch.cat([encoded_pairs(few, np.arange(len(few)), encoder), encoded_pairs(inputs.test, rows, encoder)])

    # Membership by each attack: whether its scores separate the trained patches from test patients' patches.
    critic_pairs = pairs(critic)
    scores = {
        "set": set_scores(as_points(candidates), drawn),
        "generator": reconstruction_scores(space, pairs(space), settings.reconstruction_steps, seed),
        "critic": critic_scores(critic, lambda batch: critic_pairs[torch.from_numpy(batch)], len(critic_pairs), seed),
    }
    results: dict[str, Any] = {}
    for holder, by_holder in scores.items():
        members, others = np.split(np.asarray(by_holder, np.float64), [len(few)])
        results[holder] = {"auc": auc(members, others), "p": rank_p(members, others)}
    # Linkage: whether drawn patches lead to the patient of the training set, who is the first member and so has number 0.
    training = data.training_points
    patient, held_out = (neighbour_agreement(points, training)[1] for points in (drawn, data.pixels["test"]))
    shares = np.bincount(patient, minlength=len(data.members)) / len(patient)
    linkage = {"share": float(shares[0]), "share_held_out": float((held_out == 0).mean()), "first": bool(shares.argmax() == 0)}
    return {**results, "linkage": linkage}
