"""Build the cohort: check the patients of BIDS folders and split them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from angiosynth.data.bids import survey
from angiosynth.data.checks import PatientFacts, check_patients
from angiosynth.data.copies import CopySearch
from angiosynth.data.split import Split, split_patients
from angiosynth.errors import InputError
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import say
from angiosynth.settings import CohortSettings


def build_cohort(settings: CohortSettings, splits_folder: Path, cohort_folder: Path, only: str | None = None) -> None:
    """Check the sites and write splits_folder/<site>.json, cohort_folder/<site>.json and <site>.npz. With any fault nothing is written.

    Args:
        settings: section `cohort`.
        splits_folder: receives the splits.
        cohort_folder: receives the patients' entries, and the digests and fingerprints that detect copies.
        only: check only this site, and compare it with the digests that earlier calls stored for the others. None checks all sites.

    Raises:
        InputError: a first line with the number of faults, then one line for each fault of any patient of any site.
    """
    names = list(settings.sites) if only is None else [only]
    entries: dict[str, list[PatientFacts]] = {}
    splits: dict[str, Split] = {}
    searches: dict[str, CopySearch] = {}
    faults: list[str] = []
    # Copies are searched across all sites: a scan at two sites could be used for training at one and for testing at the other.
    others = [site for site in settings.sites if site not in names]
    known = _known_of(others, settings, cohort_folder)
    for site in names:
        searches[site] = CopySearch(earlier=known)
        entries[site], splits[site], site_faults = _check_site(site, settings, searches[site])
        known = CopySearch.joined([known, searches[site]])
        faults += site_faults
    if faults:
        headline = _headline(faults, [settings.sites[site].path for site in others])
        raise InputError(headline, *faults)
    for site in names:
        write_json(splits_folder / f"{site}.json", {**asdict(splits[site]), "seed": settings.seed})
        write_json(cohort_folder / f"{site}.json", _description(settings.sites[site].path, entries[site]))
        searches[site].save(cohort_folder / f"{site}.npz")


def _known_of(sites: Sequence[str], settings: CohortSettings, cohort_folder: Path) -> CopySearch:
    """Digests of the sites' scans and labels that earlier checks stored, except those of files that are no longer in the site's folder."""
    searches = []
    for site in sites:
        kept, root = cohort_folder / f"{site}.npz", Path(settings.sites[site].path)
        if kept.is_file():
            searches.append(CopySearch.load(kept).among(partial(_lies_in, root)))
    return CopySearch.joined(searches)


def _lies_in(root: Path, name: str) -> bool:
    return Path(name).is_file() and Path(name).is_relative_to(root)


def _headline(faults: Sequence[str], others: Sequence[str]) -> str:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    known_before = any(path in fault for fault in faults for path in others)
    hint = "; where another site's scans have changed too, `python cli.py cohort` looks at all of them" if known_before else ""
    return f"cohort: {count} found; mend and run again{hint}"


def _check_site(site: str, settings: CohortSettings, copies: CopySearch) -> tuple[list[PatientFacts], Split, list[str]]:
    content = survey(Path(settings.sites[site].path))
    for note in content.notes:
        say(note)
    entries, patient_faults = check_patients(content.patients, settings.intensity, copies)
    faults = [*content.faults, *patient_faults]
    if faults:  # a split by numbers depends on which patients are usable
        return entries, Split(), faults
    say(_grids(site, entries))
    try:
        return entries, split_patients(entries, settings.sites[site].split, settings.seed, site), []
    except InputError as error:
        return entries, Split(), [*error.lines]


def _grids(site: str, entries: Sequence[PatientFacts]) -> str:
    """Message that counts the header fields from which the grids of the scans were taken."""
    counts = Counter(entry.grid_from for entry in entries)
    blind = "; pixdim alone says nothing of left and right" if counts["pixdim"] else ""
    return f"{site}: grids taken from {', '.join(f'{source} ({count} scans)' for source, count in sorted(counts.items()))}{blind}"


def _description(root: str, entries: list[PatientFacts]) -> dict[str, Any]:
    joined = "\n".join(f"{entry.id} {entry.sha256}" for entry in entries)
    return {"root": root, "patients": [asdict(entry) for entry in entries], "digest": hashlib.sha256(joined.encode()).hexdigest()}
