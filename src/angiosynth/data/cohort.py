"""The cohort: any BIDS folder in, checked patients and a split by patient out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from angiosynth.data.bids import PATIENT_NAME, Patient, find_patients, survey
from angiosynth.data.checks import PatientFacts, check_patients
from angiosynth.data.copies import CopySearch
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.errors import InputError
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.progress import say
from angiosynth.settings import CohortSettings, SplitSettings

__all__ = [
    "Patient",
    "PatientFacts",
    "Scan",
    "Split",
    "build_cohort",
    "check_patients",
    "find_patients",
    "load_scan",
    "load_split",
    "split_patients",
]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Patients' names by use, each sorted. Unlabelled ones can only be predicted."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()


def split_patients(facts: Sequence[PatientFacts], settings: SplitSettings, seed: int, site: str) -> Split:
    """Split labelled patients into train, validation and test, by explicit lists first and by number from the rest.

    Patients are drawn in the order of a hash of seed, site and name: the draw does not depend on the folder's
    order, and a new patient does not shuffle the others.

    Raises:
        InputError: unknown, unlabelled or repeated names, a patient in two parts, or too few patients.
    """
    wanted: dict[str, int | tuple[str, ...]] = {part: getattr(settings, part) for part in PARTS}
    labelled = {fact.id for fact in facts if fact.labelled}
    unlabelled = {fact.id for fact in facts} - labelled
    taken: dict[str, str] = {}
    for part, value in wanted.items():
        for name in value if isinstance(value, tuple) else ():
            _claim(name, part, site, labelled, unlabelled, taken)
    free = sorted(labelled - set(taken), key=lambda name: hashlib.sha256(f"{seed}/{site}/{name}".encode()).digest())
    numbers = {part: value for part, value in wanted.items() if isinstance(value, int)}
    if sum(numbers.values()) > len(free):
        raise InputError(
            f"{site}: {sum(numbers.values())} patients wanted by number ({', '.join(f'{part} {n}' for part, n in numbers.items())}), "
            f"{len(free)} labelled ones are free; lower the numbers of its split in params.yaml"
        )
    parts = {part: tuple(sorted(value)) for part, value in wanted.items() if isinstance(value, tuple)}
    for part, number in numbers.items():
        parts[part], free = tuple(sorted(free[:number])), free[number:]
    if free:
        say(f"{site}: {len(free)} labelled patients are in no part of the split and stay unused")
    return Split(**parts, unlabelled=tuple(sorted(unlabelled)))


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


def load_split(splits_folder: Path, site: str) -> Split:
    """Read a site's split.

    Raises:
        InputError: missing or damaged, a name that is no patient's, or a patient named twice.
    """
    path = splits_folder / f"{site}.json"
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged; run `dvc repro cohort` to make it again")
    parts: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for part in (*PARTS, "unlabelled"):
        names = value.get(part)
        if not isinstance(names, list) or not all(isinstance(name, str) and PATIENT_NAME.fullmatch(name) for name in names):
            raise InputError(f"{path}: {part} is not a list of names such as sub-01; run `dvc repro cohort` to make it again")
        twice = sorted(name for name in names if name in seen or names.count(name) > 1)
        if twice:
            raise InputError(f"{path}: {twice[0]} is named twice; every patient belongs to one part of the split")
        seen.update(names)
        parts[part] = tuple(names)
    return Split(**parts)


def _claim(name: str, part: str, site: str, labelled: set[str], unlabelled: set[str], taken: dict[str, str]) -> None:
    if name in taken:
        places = f"twice in {part}" if taken[name] == part else f"in both {taken[name]} and {part}"
        raise InputError(f"{site}: patient {name} is {places}; name every patient once in params.yaml")
    if name in unlabelled:
        raise InputError(f"{site}: patient {name} in {part} has no vessel label; add one or take the name out of params.yaml")
    if name not in labelled:
        raise InputError(f"{site}: patient {name!r} in {part} is not among the patients found; correct the name in params.yaml")
    taken[name] = part


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
