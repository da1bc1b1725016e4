"""Which patients train, validate and test: drawn by number or named in params.yaml, kept in splits/<site>.json."""

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

if TYPE_CHECKING:  # checks bring scipy, which most users of a split do not need
    from angiosynth.data.checks import PatientFacts

PARTS = ("train", "validation", "test")
HELD_OUT = "held_out"  # part of those for whom a label is welcome but not needed


@dataclass(frozen=True)
class Split:
    """Patients' names by use, each sorted. Held-out ones serve the audit alone; other unlabelled ones can only be predicted."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()


def split_patients(facts: Sequence[PatientFacts], settings: SplitSettings, seed: int, site: str) -> Split:
    """Split labelled patients into train, validation and test, by explicit lists first and by number from the rest; then hold some out.

    Patients are drawn in the order of a hash of seed, site and name: the draw does not depend on the folder's
    order, and a new patient does not shuffle the others. Labelled patients who are left are held out first, since
    they serve every attack of the audit, then unlabelled ones.

    Raises:
        InputError: unknown, unlabelled or repeated names, a patient in two parts, or too few patients.
    """
    wanted: dict[str, int | tuple[str, ...]] = {part: getattr(settings, part) for part in (*PARTS, HELD_OUT)}
    labelled = {fact.id for fact in facts if fact.labelled}
    unlabelled = {fact.id for fact in facts} - labelled
    taken: dict[str, str] = {}
    for part, value in wanted.items():
        for name in value if isinstance(value, tuple) else ():
            _claim(name, part, site, labelled, unlabelled, taken)
    free = _in_drawn_order(labelled - set(taken), seed, site)
    numbers = {part: value for part, value in wanted.items() if isinstance(value, int) and part != HELD_OUT}
    if sum(numbers.values()) > len(free):
        raise InputError(
            f"{site}: {sum(numbers.values())} patients wanted by number ({', '.join(f'{part} {n}' for part, n in numbers.items())}), "
            f"{len(free)} labelled ones are free; lower the numbers of its split in params.yaml"
        )
    parts = {part: tuple(sorted(value)) for part, value in wanted.items() if isinstance(value, tuple)}
    for part, number in numbers.items():
        parts[part], free = tuple(sorted(free[:number])), free[number:]
    held_out = wanted[HELD_OUT]
    if isinstance(held_out, int):
        eligible = [*free, *_in_drawn_order(unlabelled - set(taken), seed, site)]
        if held_out > len(eligible):
            raise InputError(
                f"{site}: {held_out} patients to be held out, {len(eligible)} are free; lower held_out of its split in params.yaml"
            )
        parts[HELD_OUT] = tuple(sorted(eligible[:held_out]))
        free = free[held_out:]
    if free:
        say(f"{site}: {len(free)} labelled patients are in no part of the split and stay unused")
    return Split(**parts, unlabelled=tuple(sorted(unlabelled - set(parts[HELD_OUT]))))


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
    for part in (*PARTS, HELD_OUT, "unlabelled"):
        names = value.get(part, [] if part == HELD_OUT else None)  # splits of earlier versions hold nobody out
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
    if name in unlabelled and part != HELD_OUT:
        raise InputError(f"{site}: patient {name} in {part} has no vessel label; add one or take the name out of params.yaml")
    if name not in labelled | unlabelled:
        raise InputError(f"{site}: patient {name!r} in {part} is not among the patients found; correct the name in params.yaml")
    taken[name] = part
