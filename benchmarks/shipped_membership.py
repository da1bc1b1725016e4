"""Can a package's numbers tell who is behind it? The attack of somebody who has the package, the public code and people's scans.

    python benchmarks/shipped_membership.py releases/NAME data/phantom/site-a splits/site-a.json [--outsiders FOLDER]
        [--params params.yaml] [--numbers FILE] [--guesses 3] [--json]

For every person of the BIDS folder (training, validation and test patients by the split) and of `--outsiders` the attacker cuts patches
with the published settings, under the person's own pseudonym and a few others (it seeds the cutting), works out the scores that an audit
works out, and looks them up among all numbers of all files of the package, at the precision that each has there. Printed is, for each
group, how many find a number of four decimals or more, and the evidence of all matches, rarer ones weighing more: its AUC against the
people outside or, without those, against validation patients, and how often chance alone would do as well. `--numbers FILE` adds the
numbers of one more file: with the house's audit/MODEL/audit.json in it the attack finds everybody, which shows that it can.
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
FINE = 1e-4  # a number of four decimals or more is hardly matched by chance
LEAST_UNIT = 1e-7  # distances are float32
PERMUTATIONS = 5000


@dataclass(frozen=True)
class Shipped:
    """A number as it stands in a file: it stands for all that lies within half a unit of its last digit."""

    value: float
    unit: float


def numbers_of(path: Path) -> set[Shipped]:
    """Every number of a file, or of all files below a folder; of arrays and pictures all that is not pixels."""
    if path.is_dir():
        return {number for file in sorted(path.rglob("*")) if file.is_file() for number in numbers_of(file)}
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            text = " ".join(
                [archive.comment.decode("latin-1"), *(f"{one.filename} {one.comment!r} {one.extra!r}" for one in archive.infolist())]
            )
        with np.load(path, allow_pickle=False) as stored:
            floats = [stored[name] for name in stored.files if stored[name].dtype.kind == "f"]
        return numbers_in(text) | {Shipped(float(value), 1e-12) for array in floats for value in array.ravel()}
    if path.suffix == ".gz":
        return numbers_in(path.read_bytes()[:512].decode("latin-1"))
    return numbers_in(path.read_bytes().decode("utf-8", "replace"))


def numbers_in(text: str) -> set[Shipped]:
    found = set()
    for match in NUMBER.finditer(html.unescape(EMBEDDED.sub(" ", text))):
        _, decimals, exponent, percent = match.groups()
        if abs(int(exponent or 0)) > 99:
            continue
        scale = 0.01 if percent else 1.0
        unit = scale * 10.0 ** (int(exponent or 0) - len(decimals or ""))
        found.add(Shipped(scale * abs(float(match[0].rstrip("%"))), unit))
    return found


def patches_of(scan: Scan, pseudonym: str, settings: PatchSettings, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and label patches (n, x, y) as `patches` cuts them of a scan under a pseudonym."""
    centres, _ = draw_centres(replace(scan, patient=pseudonym), settings)
    assert scan.label is not None
    image = np.stack([cut_square(scan.image[:, :, z], x, y, settings.size, outside=-1.0) for x, y, z in centres])
    label = np.stack([cut_square(scan.label[:, :, z], x, y, settings.size, outside=0) for x, y, z in centres])
    return to_levels(np.stack([stretch_patch(one) for one in image]) if rule == "patch" else image), label.astype(np.uint8)


def scores_of(image: np.ndarray, label: np.ndarray, set_image: np.ndarray, set_label: np.ndarray) -> list[float]:
    """What an audit works out of one person with the set alone: nearest image over all and over the closest patches, inference."""
    who = np.full(len(image), "")
    near = set_scores(as_points(image), as_points(set_image))
    told = inference_scores(as_points(image), label, as_points(set_image), set_label)
    scores = [by_patient(near, who, share)[""] for share in (1.0, CLOSEST)]
    return scores + ([by_patient(told[~np.isnan(told)], who[~np.isnan(told)])[""]] if not np.isnan(told).all() else [])


def matched(scores: Iterable[float], shipped: Sequence[Shipped]) -> np.ndarray:
    """Which of the shipped numbers (n,) some score of a person may be."""
    value, unit = (np.array([getattr(number, name) for number in shipped]) for name in ("value", "unit"))
    gaps = np.abs(np.abs(np.array(list(scores)))[:, None] - value)
    found: np.ndarray = (gaps <= 0.5 * np.maximum(unit, LEAST_UNIT) + 1e-12).any(axis=0)
    return found


def evidence(matches: np.ndarray) -> np.ndarray:
    """(people,) from (people, numbers): each match by how few people have it."""
    weight = np.log((1.0 + len(matches)) / (1.0 + matches.sum(axis=0)))
    found: np.ndarray = matches @ weight
    return found


def chance(inside: np.ndarray, outside: np.ndarray, seed: int = 1) -> float:
    """How often people drawn at random have as much more evidence than the others."""
    pool, rng = np.concatenate([inside, outside]), np.random.default_rng(seed)
    gap = inside.mean() - outside.mean()
    orders = (rng.permutation(pool) for _ in range(PERMUTATIONS))
    count = sum(one[: len(inside)].mean() - one[len(inside) :].mean() >= gap - 1e-12 for one in orders)
    return float(1 + count) / (1 + PERMUTATIONS)


def judged(scores: Mapping[str, Sequence[Sequence[float]]], shipped: Iterable[Shipped], against: str) -> dict[str, dict[str, float]]:
    """For each group of people what looking their scores up gives.

    Args:
        scores: group -> for each person all numbers that the attacker tries.
        shipped: what he looks them up in.
        against: the group of people with whom the others are compared.
    """
    numbers = sorted(set(shipped), key=lambda one: (one.value, one.unit))
    fine = np.array([number.unit <= FINE for number in numbers])
    matches = {group: np.array([matched(person, numbers) for person in people]) for group, people in scores.items()}
    told = evidence(np.concatenate(list(matches.values())).astype(np.float64))
    ends = np.cumsum([len(people) for people in matches.values()])[:-1]
    weighed = dict(zip(matches, np.split(told, ends), strict=True))
    found = {}
    for group, own in matches.items():
        row = {"people": len(own), "identified": int((own & fine).any(axis=1).sum()), "matches": float(own.sum(axis=1).mean())}
        if group != against:
            row |= {"auc": auc(weighed[group], weighed[against]), "p": chance(weighed[group], weighed[against])}
        found[group] = row
    return found


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
        name: [known[one] for one in getattr(split, part)]
        for name, part in (("members", "train"), ("test", "test"), ("validation", "validation"))
    }
    if options.outsiders:
        groups["outside"] = [patient for patient in find_patients(options.outsiders) if patient.label]
    people = [(group, patient) for group, members in groups.items() for patient in members]
    scores: dict[str, list[list[float]]] = {group: [] for group in groups if groups[group]}
    for number, (group, patient) in enumerate(progress(people, "people", len(people))):
        scan = load_scan(patient, settings.cohort.intensity)
        pseudonyms = dict.fromkeys([patient.id, *(f"sub-{number + guess + 1:02d}" for guess in range(options.guesses + 1))])
        own = [patches_of(scan, name, settings.patches, settings.cohort.intensity.rule) for name in list(pseudonyms)[: options.guesses + 1]]
        scores[group].append([score for image, label in own for score in scores_of(image, label, *pairs)])
    shipped = numbers_of(options.package) | (numbers_of(options.numbers) if options.numbers else set())
    against = "outside" if scores.get("outside") else "validation"
    found = judged(scores, shipped, against)
    print(f"{len(shipped)} numbers in the package\n\n| group | people | identified | matches a person | AUC against {against} | p |")
    print("|---|---:|---:|---:|---:|---:|")
    for group, row in found.items():
        against_others = f"{row['auc']:.2f} | {row['p']:.3f}" if "auc" in row else "- | -"
        print(f"| {group} | {row['people']} | {row['identified']} | {row['matches']:.1f} | {against_others} |")
    distance = {group: np.array([person[0] for person in own]) for group, own in scores.items()}
    plain = auc(distance["members"], distance["test"]) if "test" in distance else math.nan
    print(
        f"\nwithout looking anything up, by the distance to the set: AUC {plain:.2f} of members against test patients, as the audit has it"
    )
    if options.json:
        print(json.dumps({"numbers": len(shipped), "against": against, "groups": found, "distance_auc": plain}))


if __name__ == "__main__":
    main()
