"""Split of patients into training, validation and test, by number or by name in params.yaml; stored in splits/<site>.json."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from angiosynth.data.bids import PATIENT_NAME
from angiosynth.errors import InputError
from angiosynth.runtime.output import read_json
from angiosynth.runtime.progress import say
from angiosynth.settings import SplitSettings

if TYPE_CHECKING:  # data.checks imports scipy, which most users of a split do not need
    from angiosynth.data.checks import PatientFacts

PARTS = ("train", "validation", "test")
UNLABELLED_PARTS = ("held_out", "voters")  # a label is optional


@dataclass(frozen=True)
class Split:
    """Names of patients by use, sorted.

    Held-out patients are used only by the audit, voters only by kinds of generators that take votes; other unlabelled patients can only be
    predicted.
    """

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()


def split_patients(facts: Sequence[PatientFacts], settings: SplitSettings, seed: int, site: str) -> Split:
    """Split labelled patients into train, validation and test, first by explicit lists, then by number; then draw held-out and voters.

    Patients are drawn in the order of a hash of seed, site and name. The draw is therefore independent of the order of folders, and a new
    patient does not reshuffle the others. Among the remaining patients, labelled ones are held out first, because all attacks of the audit
    can use them, then unlabelled ones; voters follow.

    Raises:
        InputError: a name is unknown, unlabelled or repeated, a patient is in two parts of the split, or there are too few patients.
    """
    wanted: dict[str, int | tuple[str, ...]] = {part: getattr(settings, part) for part in (*PARTS, *UNLABELLED_PARTS)}
    labelled = {patient.id for patient in facts if patient.labelled}
    unlabelled = {patient.id for patient in facts} - labelled
    # explicitly named patients
    taken: dict[str, str] = {}
    for part, value in wanted.items():
        for name in value if isinstance(value, tuple) else ():
            _claim(name, part, site, labelled, unlabelled, taken)
    # train, validation and test by number
    free = _in_drawn_order(labelled - set(taken), seed, site)
    numbers = {part: value for part, value in wanted.items() if isinstance(value, int) and part in PARTS}
    if sum(numbers.values()) > len(free):
        raise InputError(
            f"{site}: {sum(numbers.values())} patients wanted by number ({', '.join(f'{part} {n}' for part, n in numbers.items())}), "
            f"{len(free)} labelled ones are free; lower the numbers of its split in params.yaml"
        )
    parts = {part: tuple(sorted(value)) for part, value in wanted.items() if isinstance(value, tuple)}
    for part, number in numbers.items():
        parts[part], free = tuple(sorted(free[:number])), free[number:]
    # held-out patients by number, labelled ones first, then voters
    eligible = [*free, *_in_drawn_order(unlabelled - set(taken), seed, site)]
    for part in UNLABELLED_PARTS:
        value = wanted[part]
        if isinstance(value, int):
            if value > len(eligible):
                raise InputError(
                    f"{site}: {value} patients wanted as {part}, {len(eligible)} are free; lower {part} of its split in params.yaml"
                )
            parts[part], eligible = tuple(sorted(eligible[:value])), eligible[value:]
    unused = labelled.intersection(eligible)
    if unused:
        say(f"{site}: {len(unused)} labelled patients are in no part of the split and stay unused")
    return Split(**parts, unlabelled=tuple(sorted(unlabelled.difference(*(parts[part] for part in UNLABELLED_PARTS)))))


def load_split(splits_folder: Path, site: str) -> Split:
    """Read the split of a site.

    Raises:
        InputError: the file is missing or damaged, a name is not a valid patient name, or a patient is named twice.
    """
    path = splits_folder / f"{site}.json"
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged; run `dvc repro cohort` to make it again")
    parts: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for part in (*PARTS, *UNLABELLED_PARTS, "unlabelled"):
        names = value.get(part, [] if part in UNLABELLED_PARTS else None)  # splits of earlier versions lack these parts
        if not isinstance(names, list) or not all(isinstance(name, str) and PATIENT_NAME.fullmatch(name) for name in names):
            raise InputError(f"{path}: {part} is not a list of names such as sub-01; run `dvc repro cohort` to make it again")
        twice = sorted(name for name in names if name in seen or names.count(name) > 1)
        if twice:
            raise InputError(f"{path}: {twice[0]} is named twice; every patient belongs to one part of the split")
        seen.update(names)
        parts[part] = tuple(names)
    return Split(**parts)


def _in_drawn_order(names: set[str], seed: int, site: str) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{site}/{name}".encode()).digest())


def _claim(name: str, part: str, site: str, labelled: set[str], unlabelled: set[str], taken: dict[str, str]) -> None:
    if name in taken:
        places = f"twice in {part}" if taken[name] == part else f"in both {taken[name]} and {part}"
        raise InputError(f"{site}: patient {name} is {places}; name every patient once in params.yaml")
    if name in unlabelled and part in PARTS:
        raise InputError(f"{site}: patient {name} in {part} has no vessel label; add one or take the name out of params.yaml")
    if name not in labelled | unlabelled:
        raise InputError(f"{site}: patient {name!r} in {part} is not among the patients found; correct the name in params.yaml")
    taken[name] = part
