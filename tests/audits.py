"""audit.json as a stage writes it, without an audit."""

from __future__ import annotations

from typing import Any

from angiosynth.privacy.copies import SPACES
from angiosynth.privacy.verdict import judge
from angiosynth.settings.audit import AuditLimits, AuditSettings
from tests.privacy.test_verdict import numbers

LIMITS = AuditLimits()


def audit_tree(**membership: dict[str, float]) -> dict[str, Any]:
    """A whole audit of 2 members and 1 other that found nothing, with some figures of attacks changed."""
    measured = numbers()
    measured["membership"] |= {name: {**measured["membership"][name], **values} for name, values in membership.items()}
    for attack in measured["membership"].values():
        attack |= {"member_scores": [1.0, 2.0], "other_scores": [0.5], "members": 2, "others": 1}
        attack |= {"control_low": 0.4, "control_high": 0.7}
        attack |= {"member_excess": [0.25, 0.75], "other_excess": [0.0], "worst_excess": 0.75, "worst_p": 0.432}
        attack |= {f"tpr_{rate}{end}": 0.5 for rate in (10, 1) for end in ("", "_low", "_high")}
    likeness = {"precision": 0.8, "recall": 0.6, "density": 0.7, "coverage": 0.5}
    vessels = {"fraction": 0.02, "calibre_px": 2.0, "components": 1.2, "empty": 0.3}
    for space in SPACES:
        measured[space] |= {"copies_count": 0, "member_counts": [0, 0], "other_counts": [0, 0], "p_worst": 0.321}
        measured[space] |= {"ratio": 0.4, "least_ratio": 0.7}
    return {
        **measured,
        **judge(measured, LIMITS),
        "model": "wgan-gp",
        "set_digest": "abc",
        "checkpoints": [
            {"step": step, "chosen": step == 4, "auc": 0.5 + step / 20, "probe_dsc": 0.1 * step, "probe_dsc_real": real}
            for step, real in ((2, 0.5), (4, 0.5), (6, 0.0))  # a DSC of 0 on real patches gives no share
        ],
        "n_synthetic": 100,
        "n_audited": 100,
        "n_training_patches": 80,
        "patch_size": 32,
        "patients": {"training": 2, "validation": 1, "test": 1, "held_out": 0, "held_out_labelled": 0},
        "limits": LIMITS.model_dump(),
        "settings": AuditSettings().model_dump(),
        "power": {"0.7": 0.0, "0.8": 0.0, "0.9": 0.0},
        "plain_differences": {"mean_intensity": 0.6, "vessel_fraction": 0.5},
        "usefulness": {
            "synthetic": likeness,
            "real": likeness,
            "fd_unet": 1.0,
            "fd_unet_floor": 0.5,
            "vessels": {"synthetic": vessels, "real": vessels},
        },
    }
