"""Stage patches: cut the patches of the training patients of every site, and those by which patients vote."""

from __future__ import annotations

from angiosynth.data.nifti import canonical_shape
from angiosynth.data.patches import build_patches
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace
from angiosynth.settings import Settings


def patches(settings: Settings, home: Workspace, only: str | None = None) -> None:
    """Cut the patches of the training patients of all sites, or of one.

    If the split has voters, patches of training patients and voters are cut anew without labels, so that everybody is described alike.

    Raises:
        InputError: a scan of the split is smaller than a patch. All patients are checked, since the audit, hours later, cuts patches of all
            patients of the source.
    """
    size = settings.patches.size
    sites = [site for site in settings.cohort.sites if only in (None, site)]
    for site in sites:
        split = load_split(home.splits, site)
        for patient in home.patients(settings, site, (*split.train, *split.validation, *split.test, *split.held_out, *split.voters)):
            x, y, _ = canonical_shape(patient.image)
            if min(x, y) < size:
                raise InputError(f"{patient.image}: slices of {x} x {y} are smaller than a patch of {size}; lower patches.size")
    for site in sites:
        split, root, intensity = load_split(home.splits, site), home.site_root(settings, site), settings.cohort.intensity
        build_patches(root, split.train, settings.patches, intensity, home.patches(site))
        if split.voters:
            everybody = (*split.train, *split.voters)
            build_patches(root, everybody, settings.patches, intensity, home.voters(site), labelled=False)
