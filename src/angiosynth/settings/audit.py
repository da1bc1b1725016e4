"""The sections `audit` and `release` of params.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from angiosynth.sections import Count, Fraction, Positive, Rate, Resamples, Section, Seed
from angiosynth.settings.texts import licence_fault, line_fault, url_fault


def _without(fault_of: Callable[[str], str]) -> AfterValidator:
    """Refuse a text in which `fault_of` finds a fault."""

    def check(text: str) -> str:
        if fault := fault_of(text):
            raise ValueError(fault)
        return text

    return AfterValidator(check)


AUDIT_FILES = ("audit.json", "index.html")  # of an audit, for release: exact numbers and pictures of patches stay in the house


class AuditLimits(Section):
    """Limits of an audit's measures, beyond which a set is not released; fixed before an audit is looked at."""

    auc: Fraction = 0.7  # of an attack on membership that is also `excess` above its control
    excess: Fraction = 0.1
    copies: Fraction = 0.001  # share of synthetic patches that are distinctive and much nearer to a training patient than to others
    copy_ratio: Fraction = 0.4  # "much nearer": less than this share of the other distance, or less where real patches come so near
    distinctive: Fraction = 0.25  # quantile of real patches' distances to other people; patches nearer to everybody never count
    distinctive_labels: Fraction = 0.5  # the same of label maps alone: small vessels are alike in everybody
    nearer: Fraction = 0.6  # share of synthetic patches nearer to training patients than to as many others; 0.5 by chance
    linkage: Fraction = 0.1  # agreement of the nearest training patches above that of real patches of others
    alpha: Rate = 0.05  # probability that any measure of a harmless set is called over its limit


class AuditSettings(Section):
    """The privacy audit: its attacks, the leaks planted to test them, its limits."""

    bootstrap: Resamples = 1000
    checked: Positive = 1000  # synthetic patches, the most suspicious ones, that are aligned exactly with real ones
    compared: Positive = 2000  # patches of either side for likeness and vessel statistics
    reconstructed: Positive = 8  # patches a patient that the generator is made to draw
    reconstruction_steps: Positive = 40
    # Shares of the set that are replaced by training patches, to see that the audit notices.
    planted: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.01, 0.1)
    overfit_patches: Positive = 8  # of one patient, for a GAN that is to learn them by heart
    overfit_steps: Positive = 300
    detector_steps: Count = 0  # of a copy detector that learns from drawn heads; 0 for none, 500 are enough
    seed: Seed = 1
    limits: AuditLimits = AuditLimits()


class ReleaseSettings(Section):
    """Who releases a package, for its card."""

    creator: Annotated[str, _without(line_fault)] = "unnamed"
    url: Annotated[str, _without(lambda text: url_fault(text) if text else "")] = ""  # of the set's page or download
    licence: Annotated[str, _without(licence_fault)] = "https://creativecommons.org/licenses/by/4.0/"
