"""Attack a package's published numbers: find its training patients with the package, the public code and people's scans.

    python benchmarks/shipped_membership.py releases/NAME data/phantom/site-a splits/site-a.json [--outsiders FOLDER]
        [--params params.yaml] [--numbers FILE] [--guesses 3] [--json]

For every person of the BIDS folder (training, validation and test patients by the split) and of `--outsiders` the attacker cuts patches
with the published settings, under the person's pseudonym, which seeds the cutting, and a few other pseudonyms. The attacker computes the
scores of an audit and searches them among all numbers of all files of the package, at the printed precision of each number. For each group
the table has the number of people who match a number of four decimals or more, and the AUC of the evidence against the people outside or,
without those, against validation patients, with a p-value by permutation. Evidence is the sum over matches, with higher weights for rarer
matches. `--numbers FILE` adds the numbers of another file: with the internal audit/MODEL/audit.json the attack identifies everybody, which
shows its power.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from angiosynth.arrays import to_levels
from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import Scan, load_scan, stretch_patch
from angiosynth.data.patch_centres import cut_square, draw_centres
from angiosynth.data.split import load_split
from angiosynth.privacy.blackbox import CLOSEST, inference_scores, set_scores
from angiosynth.privacy.membership import auc, by_patient
from angiosynth.privacy.nearest import as_points
from angiosynth.runtime.progress import progress
from angiosynth.settings import PatchSettings, load_settings

NUMBER = re.compile(r"(?<![\w.])[-+]?(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?(%?)(?!\w)")
EMBEDDED = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
FINE = 1e-4  # numbers with four or more decimals are rarely matched by chance
LEAST_UNIT = 1e-7  # precision of distances, which are float32
PERMUTATIONS = 5000


@dataclass(frozen=True)
class Shipped:
    """A number in a file. It represents all values within half a unit of its last digit."""

    value: float
    unit: float


def numbers_of(path: Path) -> set[Shipped]:
    """Collect the numbers of a file, or of all files in a folder, without the pixels of arrays and pictures."""
    if path.is_dir():
        return {number for file in sorted(path.rglob("*")) if file.is_file() for number in numbers_of(file)}
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            text = " ".join(
                [
                    archive.comment.decode("latin-1"),
                    *(f"{entry.filename} {entry.comment!r} {entry.extra!r}" for entry in archive.infolist()),
                ]
            )
        with np.load(path, allow_pickle=False) as stored:
            floats = [stored[name] for name in stored.files if stored[name].dtype.kind == "f"]
        return numbers_in(text) | {Shipped(float(value), 1e-12) for array in floats for value in array.ravel()}
    if path.suffix == ".gz":
        return numbers_in(path.read_bytes()[:512].decode("latin-1"))
    return numbers_in(path.read_bytes().decode("utf-8", "replace"))


def numbers_in(text: str) -> set[Shipped]:
    numbers = set()
    for match in NUMBER.finditer(html.unescape(EMBEDDED.sub(" ", text))):
        _, decimals, exponent, percent = match.groups()
        if abs(int(exponent or 0)) > 99:
            continue
        scale = 0.01 if percent else 1.0
        unit = scale * 10.0 ** (int(exponent or 0) - len(decimals or ""))
        numbers.add(Shipped(scale * abs(float(match[0].rstrip("%"))), unit))
    return numbers


def patches_of(scan: Scan, pseudonym: str, settings: PatchSettings, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Cut image and label patches (n, x, y) of a scan under a pseudonym, as stage `patches` does."""
    centres, _ = draw_centres(replace(scan, patient=pseudonym), settings)
    assert scan.label is not None
    image = np.stack([cut_square(scan.image[:, :, z], x, y, settings.size, outside=-1.0) for x, y, z in centres])
    label = np.stack([cut_square(scan.label[:, :, z], x, y, settings.size, outside=0) for x, y, z in centres])
    return to_levels(np.stack([stretch_patch(patch) for patch in image]) if rule == "patch" else image), label.astype(np.uint8)


def scores_of(image: np.ndarray, label: np.ndarray, set_image: np.ndarray, set_label: np.ndarray) -> list[float]:
    """Compute an audit's scores of one person from the set: nearest image over all and over the closest patches, and inference."""
    person = np.full(len(image), "")
    near = set_scores(as_points(image), as_points(set_image))
    inferred = inference_scores(as_points(image), label, as_points(set_image), set_label)
    scores = [by_patient(near, person, share)[""] for share in (1.0, CLOSEST)]
    return scores + ([by_patient(inferred[~np.isnan(inferred)], person[~np.isnan(inferred)])[""]] if not np.isnan(inferred).all() else [])


def matched(scores: Iterable[float], shipped: Sequence[Shipped]) -> np.ndarray:
    """Return for each shipped number (n,) whether it agrees with a score of the person."""
    value, unit = (np.array([getattr(number, name) for number in shipped]) for name in ("value", "unit"))
    gaps = np.abs(np.abs(np.array(list(scores)))[:, None] - value)
    matches: np.ndarray = (gaps <= 0.5 * np.maximum(unit, LEAST_UNIT) + 1e-12).any(axis=0)
    return matches


def evidence(matches: np.ndarray) -> np.ndarray:
    """Sum each person's matches (people, numbers) -> (people,), weighted by the log inverse frequency of the number."""
    weight = np.log((1.0 + len(matches)) / (1.0 + matches.sum(axis=0)))
    weighted: np.ndarray = matches @ weight
    return weighted


def chance(inside: np.ndarray, outside: np.ndarray, seed: int = 1) -> float:
    """Return the p-value of a one-sided permutation test of the difference between the groups' mean evidence."""
    pool, rng = np.concatenate([inside, outside]), np.random.default_rng(seed)
    gap = inside.mean() - outside.mean()
    orders = (rng.permutation(pool) for _ in range(PERMUTATIONS))
    count = sum(order[: len(inside)].mean() - order[len(inside) :].mean() >= gap - 1e-12 for order in orders)
    return float(1 + count) / (1 + PERMUTATIONS)


def judged(scores: Mapping[str, Sequence[Sequence[float]]], shipped: Iterable[Shipped], against: str) -> dict[str, dict[str, float]]:
    """Search the scores of each group of people among the shipped numbers.

    Args:
        scores: group -> for each person all numbers that the attacker computes.
        shipped: the numbers of the package.
        against: the group with which the other groups are compared.

    Returns:
        Group -> number of people and of identified people, mean matches per person and, except for `against`, AUC and p-value.
    """
    numbers = sorted(set(shipped), key=lambda number: (number.value, number.unit))
    fine = np.array([number.unit <= FINE for number in numbers])
    matches = {group: np.array([matched(person, numbers) for person in people]) for group, people in scores.items()}
    everybody = evidence(np.concatenate(list(matches.values())).astype(np.float64))
    ends = np.cumsum([len(people) for people in matches.values()])[:-1]
    weighed = dict(zip(matches, np.split(everybody, ends), strict=True))
    table = {}
    for group, hits in matches.items():
        row = {"people": len(hits), "identified": int((hits & fine).any(axis=1).sum()), "matches": float(hits.sum(axis=1).mean())}
        if group != against:
            row |= {"auc": auc(weighed[group], weighed[against]), "p": chance(weighed[group], weighed[against])}
        table[group] = row
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("scans", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--outsiders", type=Path)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--numbers", type=Path)
    parser.add_argument("--guesses", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = load_settings(options.params)
    with np.load(options.package / "patches.npz", allow_pickle=False) as stored:
        pairs = stored["image"], stored["label"]
    split = load_split(options.split.parent, options.split.stem)
    known = {patient.id: patient for patient in find_patients(options.scans)}
    groups = {
        name: [known[identifier] for identifier in getattr(split, role)]
        for name, role in (("members", "train"), ("test", "test"), ("validation", "validation"))
    }
    if options.outsiders:
        groups["outside"] = [patient for patient in find_patients(options.outsiders) if patient.label]
    people = [(group, patient) for group, members in groups.items() for patient in members]
    scores: dict[str, list[list[float]]] = {group: [] for group in groups if groups[group]}
    for number, (group, patient) in enumerate(progress(people, "people", len(people))):
        scan = load_scan(patient, settings.cohort.intensity)
        pseudonyms = dict.fromkeys([patient.id, *(f"sub-{number + guess + 1:02d}" for guess in range(options.guesses + 1))])
        cuts = [
            patches_of(scan, name, settings.patches, settings.cohort.intensity.rule) for name in list(pseudonyms)[: options.guesses + 1]
        ]
        scores[group].append([score for image, label in cuts for score in scores_of(image, label, *pairs)])
    shipped = numbers_of(options.package) | (numbers_of(options.numbers) if options.numbers else set())
    against = "outside" if scores.get("outside") else "validation"
    results = judged(scores, shipped, against)
    print(f"{len(shipped)} numbers in the package\n\n| group | people | identified | matches a person | AUC against {against} | p |")
    print("|---|---:|---:|---:|---:|---:|")
    for group, row in results.items():
        against_others = f"{row['auc']:.2f} | {row['p']:.3f}" if "auc" in row else "- | -"
        print(f"| {group} | {row['people']} | {row['identified']} | {row['matches']:.1f} | {against_others} |")
    distance = {group: np.array([person[0] for person in members]) for group, members in scores.items()}
    plain = auc(distance["members"], distance["test"]) if "test" in distance else math.nan
    print(
        f"\nwithout looking anything up, by the distance to the set: AUC {plain:.2f} of members against test patients, as the audit has it"
    )
    if options.json:
        print(json.dumps({"numbers": len(shipped), "against": against, "groups": results, "distance_auc": plain}))


if __name__ == "__main__":
    main()
