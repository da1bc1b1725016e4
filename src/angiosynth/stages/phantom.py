"""Stage phantom: draw simulated sites, to try everything without scans of patients."""

from __future__ import annotations

from angiosynth.phantom.drawing import generate_site
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace
from angiosynth.settings import Settings


def phantom(settings: Settings, home: Workspace, only: str | None = None) -> None:
    """Draw all sites of the phantom, or one, as BIDS datasets, after checking that all settings can be trained on this machine."""
    preflight(settings, home)
    for site, scanner in settings.phantom.sites.items():
        if only in (None, site):
            generate_site(scanner, settings.phantom.seed, site, settings.phantom.diseased, home.root / "data" / "phantom" / site)
