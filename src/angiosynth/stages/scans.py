"""Stages phantom, cohort, patches: from nothing, or from a lab's own scans, to training patches."""

from __future__ import annotations

from angiosynth.data.cohort import build_cohort, load_split
from angiosynth.data.nifti import canonical_shape
from angiosynth.data.patches import build_patches
from angiosynth.errors import InputError
from angiosynth.settings import SITES, Settings
from angiosynth.stages.workspace import Workspace


def phantom(settings: Settings, home: Workspace) -> None:
    """Draw the two embedded sites as BIDS data sets, once it is known that all settings can be trained with."""
    from angiosynth.data.phantom import generate_site
    from angiosynth.stages.preflight import preflight

    preflight(settings, home)
    for site, scanner in (("site-a", settings.phantom.site_a), ("site-b", settings.phantom.site_b)):
        generate_site(scanner, settings.phantom.seed, site, settings.phantom.diseased, home.root / "data" / "phantom" / site)


def cohort(settings: Settings, home: Workspace) -> None:
    """Check both sites' patients and split them, once it is known that all settings can be trained with."""
    from angiosynth.stages.preflight import preflight  # brings torch, which the stages `patches` and `summary` do without

    preflight(settings, home)
    build_cohort(settings.cohort, home.splits, home.data_root / "data" / "cohort")


def patches(settings: Settings, home: Workspace) -> None:
    """Cut the training patients' patches at both sites; a missing site gives an empty set.

    Raises:
        InputError: a scan of the split is smaller than a patch: the audit, hours later, cuts those of all patients.
    """
    size = settings.patches.size
    for site in SITES:
        split = load_split(home.splits, site)
        for patient in home.patients(settings, site, (*split.train, *split.validation, *split.test)):
            x, y, _ = canonical_shape(patient.image)
            if min(x, y) < size:
                raise InputError(f"{patient.image}: slices of {x} x {y} are smaller than a patch of {size}; lower patches.size")
    for site in SITES:
        names = load_split(home.splits, site).train
        build_patches(home.site_root(settings, site), names, settings.patches, settings.cohort.intensity, home.patches(site))
