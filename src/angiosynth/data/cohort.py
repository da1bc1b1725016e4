"""The cohort: any BIDS folder in, checked patients and a split by patient out."""

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
    """Check the sites; write splits_folder/<site>.json, cohort_folder/<site>.json and <site>.npz, or nothing where there is a fault.

    Args:
        settings: section `cohort`.
        splits_folder: for the splits.
        cohort_folder: for the facts of the patients, and the digests and fingerprints by which copies are recognised.
        only: one site; it is compared with what earlier calls kept of the others. None: all of them.

    Raises:
        InputError: a first line with the number of faults, then one line for each fault of any patient of any site.
    """
    names = list(settings.sites) if only is None else [only]
    facts: dict[str, list[PatientFacts]] = {}
    splits: dict[str, Split] = {}
    searches: dict[str, CopySearch] = {}
    faults: list[str] = []
    # Over all sites: a scan in two of them would be trained with at one and tested at the other.
    others = [site for site in settings.sites if site not in names]
    known = _known_of(others, settings, cohort_folder)
    for site in names:
        searches[site] = CopySearch(earlier=known)
        facts[site], splits[site], wrong = _check_site(site, settings, searches[site])
        known = CopySearch.joined([known, searches[site]])
        faults += wrong
    if faults:
        headline = _headline(faults, [settings.sites[site].path for site in others])
        raise InputError(headline, *faults)
    for site in names:
        write_json(splits_folder / f"{site}.json", {**asdict(splits[site]), "seed": settings.seed})
        write_json(cohort_folder / f"{site}.json", _description(settings.sites[site].path, facts[site]))
        searches[site].save(cohort_folder / f"{site}.npz")


def _known_of(sites: Sequence[str], settings: CohortSettings, cohort_folder: Path) -> CopySearch:
    """The digests that earlier checks kept of these sites' scans and labels, without those that have left the site's folder since."""
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
    facts, wrong = check_patients(content.patients, settings.intensity, copies)
    faults = [*content.faults, *wrong]
    if faults:  # a split by numbers depends on which patients are sound
        return facts, Split(), faults
    say(_grids(site, facts))
    try:
        return facts, split_patients(facts, settings.sites[site].split, settings.seed, site), []
    except InputError as error:
        return facts, Split(), [*error.lines]


def _grids(site: str, facts: Sequence[PatientFacts]) -> str:
    """One line on the header fields that the scans' grids were taken from."""
    counts = Counter(fact.grid_from for fact in facts)
    blind = "; pixdim alone says nothing of left and right" if counts["pixdim"] else ""
    return f"{site}: grids taken from {', '.join(f'{source} ({count} scans)' for source, count in sorted(counts.items()))}{blind}"


def _description(root: str, facts: list[PatientFacts]) -> dict[str, Any]:
    joined = "\n".join(f"{fact.id} {fact.sha256}" for fact in facts)
    return {"root": root, "patients": [asdict(fact) for fact in facts], "digest": hashlib.sha256(joined.encode()).hexdigest()}
