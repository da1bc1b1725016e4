"""Sections `audit` and `release` of params.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from angiosynth.sections import Count, Fraction, Positive, Rate, Resamples, Section, Seed
from angiosynth.settings.texts import licence_fault, line_fault, url_fault


def _without(fault_of: Callable[[str], str]) -> AfterValidator:
    """Validator that refuses a text for which `fault_of` returns a fault."""

    def check(text: str) -> str:
        if fault := fault_of(text):
            raise ValueError(fault)
        return text

    return AfterValidator(check)


AUDIT_FILES = ("audit.json", "index.html")  # files of an audit that may be released; exact numbers and images of patches may not


class AuditLimits(Section):
    """Limits of an audit's measures. A set that exceeds one is not released; the limits are fixed before the audit."""

    auc: Fraction = 0.7  # AUC of a membership attack whose excess over its control is also above `excess`
    excess: Fraction = 0.1
    copies: Fraction = 0.001  # fraction of synthetic patches that are distinctive and much nearer to a training patient than to others
    copy_ratio: Fraction = 0.4  # "much nearer": upper limit of the ratio of the two distances, lower if real patches reach it too
    distinctive: Fraction = 0.25  # quantile of the distances of real patches to other people; nearer patches are not distinctive
    distinctive_labels: Fraction = 0.5  # the same for label maps alone, because small vessels look alike in all people
    nearer: Fraction = 0.6  # fraction of synthetic patches nearer to training patients than to equally many others; 0.5 by chance
    linkage: Fraction = 0.1  # agreement of the nearest training patches minus that for real patches of other people
    alpha: Rate = 0.05  # probability that any measure of a harmless set is judged to exceed its limit


class AuditSettings(Section):
    """The privacy audit: attacks, planted leaks that test them, limits."""

    bootstrap: Resamples = 1000
    checked: Positive = 1000  # most suspicious synthetic patches, which are aligned exactly with real ones
    most_patches: Positive = 50_000  # of each set, evenly spaced, that are audited; the paper's 41 patients have 41,000
    compared: Positive = 2000  # patches of each set for fidelity and vessel statistics
    reconstructed: Positive = 8  # patches per patient for the reconstruction attack
    reconstruction_steps: Positive = 40
    # Fractions of the set that are replaced by training patches, to verify that the audit detects them.
    planted: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.01, 0.1)
    overfit_patches: Positive = 8  # patches of one patient that a control GAN is trained to memorise
    overfit_steps: Positive = 300
    # Where U-nets label a set: whether the label maps that its generator draws are searched too; release --with-generator needs it.
    drawn_labels: bool = False
    detector_steps: Count = 0  # of a copy detector that learns from drawn heads; 0 for none, 500 are enough
    seed: Seed = 1
    limits: AuditLimits = AuditLimits()


class ReleaseSettings(Section):
    """Creator, address and licence of released packages, for their cards."""

    creator: Annotated[str, _without(line_fault)] = "unnamed"
    url: Annotated[str, _without(lambda text: url_fault(text) if text else "")] = ""  # of the page or download of the set
    licence: Annotated[str, _without(licence_fault)] = "https://creativecommons.org/licenses/by/4.0/"
