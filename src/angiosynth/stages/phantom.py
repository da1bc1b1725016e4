"""Stage phantom: drawn sites, for trying everything without a scan."""

from __future__ import annotations

from angiosynth.phantom.drawing import generate_site
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace
from angiosynth.settings import Settings


def phantom(settings: Settings, home: Workspace, only: str | None = None) -> None:
    """Draw the embedded sites, or one of them, as BIDS data sets, once it is known that all settings can be trained with."""
    preflight(settings, home)
    for site, scanner in settings.phantom.sites.items():
        if only in (None, site):
            generate_site(scanner, settings.phantom.seed, site, settings.phantom.diseased, home.root / "data" / "phantom" / site)
