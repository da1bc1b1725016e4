"""Who has a package, the public code and people's scans cannot look up who is behind the set; with the house's own audit he could."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import combine_pvalues

from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet
from angiosynth.privacy.blackbox import CLOSEST, inference_scores, set_scores
from angiosynth.privacy.membership import Patients, auc, by_patient, membership_statistics
from angiosynth.privacy.nearest import as_points
from angiosynth.privacy.shared import coarse, p_bound, shared_audit, step_of, to_step
from angiosynth.privacy.verdict import judge
from angiosynth.project.workspace import data_digest
from angiosynth.release.card import Terms
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.settings import PatchSettings
from angiosynth.settings.audit import AuditLimits, ReleaseSettings
from angiosynth.stages.audit import write_shared
from benchmarks.shipped_membership import FINE, judged, numbers_in, numbers_of, patches_of, scores_of
from tests.audits import audit_tree
from tests.factories import make_scan

CUT = PatchSettings(size=16, on_vessels=15, on_bright=0, in_brain=15)  # the published settings
GROUPS = {"members": 8, "test": 4, "validation": 4, "outside": 24, "behind the set": 6}
Pair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


People = dict[str, list[tuple[Scan, str]]]


@dataclass(frozen=True)
class Situation:
    """A set that knows nothing of the people it is audited against, its audit for the house, its package, and what the attacker tries."""

    pairs: Pair
    audit: dict[str, Any]
    package: Path
    tried: dict[str, list[list[float]]]


@pytest.fixture(scope="module")
def situations(tmp_path_factory: pytest.TempPathFactory) -> list[Situation]:
    """Three, since one group of four people may stand out by chance."""
    return [_situation(seed, tmp_path_factory.mktemp("release")) for seed in (1000, 2000, 3000)]


@pytest.fixture(scope="module")
def package(situations: list[Situation]) -> Path:
    return situations[0].package


@pytest.fixture(scope="module")
def audit(situations: list[Situation]) -> dict[str, Any]:
    return situations[0].audit


@pytest.fixture(scope="module")
def harmless(situations: list[Situation]) -> Pair:
    return situations[0].pairs


def _situation(seed: int, folder: Path) -> Situation:
    numbers = itertools.count(seed)
    people = {
        group: [(make_scan((28, 30, 4), seed=number), f"sub-{number}") for number in itertools.islice(numbers, count)]
        for group, count in GROUPS.items()
    }
    pairs = _joined([patches_of(scan, name, CUT, "volume") for scan, name in people["behind the set"]])
    audit = _audit_of(people, pairs)
    package = _packed(folder, audit, pairs)
    with np.load(package / "patches.npz", allow_pickle=False) as stored:
        shipped = stored["image"], stored["label"]
    tried = {
        group: [
            [score for guess in (name, "sub-900", "sub-901") for score in scores_of(*patches_of(scan, guess, CUT, "volume"), *shipped)]
            for scan, name in people[group]
        ]
        for group in ("members", "test", "outside")
    }
    return Situation(pairs, audit, package, tried)


def _joined(pairs: list[Pair]) -> Pair:
    image, label = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return image, label


def _audit_of(people: People, pairs: Pair) -> dict[str, Any]:
    """What the stage writes for the house, its membership attacks worked out, with every figure to its last digit."""
    cut = {group: [patches_of(scan, name, CUT, "volume") for scan, name in people[group]] for group in ("members", "test", "validation")}
    both = [(f"{group}-{number}", pair) for group in ("members", "test") for number, pair in enumerate(cut[group])]
    images, labels = _joined([pair for _, pair in both])
    owner = np.concatenate([np.full(len(pair[0]), name) for name, pair in both])
    third = _joined(cut["validation"])

    def sides(values: np.ndarray[Any, Any], share: float = 1.0) -> Patients:
        found = by_patient(values, owner, share)
        return Patients(*(np.array([found[name] for name in found if name.startswith(group)]) for group in ("members", "test")))

    def attack(pool: Pair) -> np.ndarray[Any, Any]:
        return set_scores(as_points(images), as_points(pool[0]))

    def inferred(pool: Pair) -> np.ndarray[Any, Any]:
        return np.nan_to_num(inference_scores(as_points(images), labels, as_points(pool[0]), pool[1]))

    tree = audit_tree()
    for name, scores, share in (("images", attack, 1.0), ("images_closest", attack, CLOSEST), ("inference", inferred, 1.0)):
        tree["membership"][name] = membership_statistics(sides(scores(pairs), share), sides(scores(third), share), 50, 1)
    for name in ("features", "medoids", "generator", "critic"):
        tree["membership"][name] = copy.deepcopy(tree["membership"]["images"])
    tree["patients"] = {
        group: len(people[part]) for group, part in (("training", "members"), ("validation", "validation"), ("test", "test"))
    } | {"held_out": 0, "held_out_labelled": 0}
    tree["n_synthetic"], tree["n_training_patches"] = len(pairs[0]), sum(len(pair[0]) for pair in cut["members"])
    tree["usefulness"]["vessels"]["real"] = {"fraction": 0.0212345678, "calibre_px": 2.13579, "components": 1.23579, "empty": 0.31234}
    return {**tree, **judge(tree, AuditLimits())}


def _packed(folder: Path, audit: dict[str, Any], pairs: Pair) -> Path:
    facts = {"model": "wgan-gp", "n": len(pairs[0]), "size": 16, "seed": 1, "label_threshold": 0.0, "vessel_fraction": 0.2}
    meta = {**facts, "intensity": {"rule": "volume", "low": 0.5, "high": 99.9}, "spacing_mm": [0.3, 0.3, 0.6], "spacing_varies": False}
    synthetic = PatchSet(*pairs, np.full(len(pairs[0]), ""), np.arange(len(pairs[0])), meta, folder)
    shared = shared_audit(audit)
    write_shared(shared, folder / "shared")
    build_package(folder / "set-1", synthetic, SharedAudit(shared, folder / "shared"), Terms(ReleaseSettings(), "2026-01-31"))
    return folder / "set-1"


def test_looking_scores_up_in_a_package_tells_nobody(situations: list[Situation]) -> None:
    """All numbers of all files at the precision that they have there: members match no more often than people outside."""
    found = [judged(one.tried, numbers_of(one.package), "outside") for one in situations]
    for group in ("members", "test"):
        assert [one[group]["identified"] for one in found] == [0, 0, 0]
        assert combine_pvalues([one[group]["p"] for one in found]).pvalue > 0.05, f"{group} match more than people outside: {found}"


@pytest.mark.parametrize("digits", [16, 6, 4])
def test_looking_scores_up_in_the_houses_own_audit_tells_everybody(situations: list[Situation], digits: int) -> None:
    """The same attack against the form that held each person's score, so that the test above can fail; rounding a little is no cure."""
    for one in situations:
        images = one.audit["membership"]["images"]
        scores = [f"{score:.{digits}f}" for side in ("member_scores", "other_scores") for score in images[side]]
        found = judged(one.tried, numbers_of(one.package) | numbers_in(" ".join(scores)), "outside")
        assert (found["members"]["identified"], found["test"]["identified"]) == (8, 4)
        assert found["members"]["p"] < 0.01
        if digits == 16:
            assert found["outside"]["identified"] == 0


def test_a_mean_over_members_gives_the_last_one_away_and_stays(package: Path, audit: dict[str, Any]) -> None:
    """Whoever has seven of eight scans works the eighth score out of an exact mean; nothing of the kind is in the package."""
    scores = np.array(audit["membership"]["images"]["member_scores"])
    assert 8 * scores.mean() - scores[:7].sum() == pytest.approx(scores[7], abs=1e-12)
    parts = {*scores, *np.cumsum(scores) / np.arange(1, 9), scores.std(), *np.quantile(scores, (0.0, 0.25, 0.5, 0.75, 1.0))}
    for number in numbers_of(package):
        assert number.unit > FINE or not any(abs(abs(one) - number.value) < 1e-6 for one in parts)


@pytest.mark.parametrize(
    "place", ["", "membership", "membership/images", "patients", "planted/0", "findings/3", "settings", "usefulness/vessels/real"]
)
def test_what_is_new_in_an_audit_does_not_leave(audit: dict[str, Any], place: str, tmp_path: Path, harmless: Pair) -> None:
    """Neighbours: names, paths, lists and numbers under new keys at every depth; nothing of them in any file."""
    tree = copy.deepcopy(audit)
    node: Any = tree
    for part in place.split("/") if place else []:
        node = node[int(part) if part.isdigit() else part]
    secrets = ("sub-777", "/home/jane/scans", "0.123454321")
    node |= {"patient_scores": {"sub-777": 0.123454321}, "path": "/home/jane/scans", "per_patient": [0.123454321]}
    folder = _packed(tmp_path, tree, harmless)
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in {".json", ".html", ".md", ".py"}]
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert shared_audit(tree) == shared_audit(audit)


def test_page_and_figure_hold_nothing_that_the_numbers_do_not(package: Path, tmp_path: Path) -> None:
    """The shipped page is built anew from the shipped numbers, byte for byte, so it can hold nothing else."""
    write_shared(json.loads((package / "audit" / "audit.json").read_text()), tmp_path / "again")
    assert (tmp_path / "again" / "index.html").read_bytes() == (package / "audit" / "index.html").read_bytes()
    page = (package / "audit" / "index.html").read_text()
    assert page.count("<img") == 1
    picture = base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])
    chunks = set(re.findall(rb"(tEXt|iTXt|zTXt|tIME|eXIf)", picture))
    assert not chunks, "a figure carries texts or times"


def test_no_number_of_a_package_is_fine_but_of_the_set_itself(package: Path) -> None:
    """Every number of the audit's files is coarse; digests and the Croissant are of files that the receiver has."""
    for name in ("audit.json", "index.html"):
        text = re.sub(r"[0-9a-f]{16,}", "", (package / "audit" / name).read_text())
        fine = [number for number in numbers_in(re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)) if number.unit < FINE / 10]
        least_p = 1 / 495
        assert all(abs(number.value - least_p) < 1e-12 for number in fine)


@pytest.mark.parametrize("file", ["SHA256SUMS", "croissant.json", "card.json", "audit/audit.json", "audit/index.html", "README.md"])
def test_every_digest_is_of_what_the_receiver_has(package: Path, file: str, harmless: Pair, tmp_path: Path) -> None:
    """A digest of a scan, a split or a lock file would tell exactly whose scan is in the cohort: each is worked out anew here."""
    np.save(tmp_path / "image.npy", harmless[0])
    np.save(tmp_path / "label.npy", harmless[1])
    known = {hashlib.sha256(path.read_bytes()).hexdigest() for path in package.rglob("*") if path.is_file()} | {data_digest(tmp_path)}
    text = re.sub(r"base64,[^\"]+", "", (package / file).read_text(encoding="utf-8"))
    text = re.sub(r"\babc\b", data_digest(tmp_path), text)
    digests = {found for found in re.findall(r"\b[0-9a-f]{16,}\b", text) if not found.isdigit()}
    assert digests <= known


def test_no_file_of_a_package_holds_a_time_or_a_name_of_a_file(package: Path) -> None:
    for path in (package / "nifti").iterdir():
        assert path.read_bytes()[3:8] == bytes(5), "gzip's flags and time"
    with zipfile.ZipFile(package / "patches.npz") as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not [one for one in archive.infolist() if one.comment]
        assert {one.filename for one in archive.infolist()} == {"image.npy", "label.npy"}


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=9), st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(-1, 1))
def test_exchanging_one_person_moves_no_figure_by_more_than_a_step(members: list[float], others: list[float], new: float) -> None:
    step = step_of(len(members), len(others))
    for before, after in (((members, others), ([new, *members[1:]], others)), ((members, others), (members, [new, *others[1:]]))):
        values = [to_step(auc(np.array(one), np.array(other)), step) for one, other in (before, after)]
        assert abs(values[0] - values[1]) <= step + 1e-9


@pytest.mark.parametrize(
    ("members", "others", "step"), [(8, 4, 0.25), (40, 20, 0.05), (2, 1, 0.5), (200, 150, 0.01), (12, 10, 0.1), (1, 0, 0.5)]
)
def test_the_step_by_hand(members: int, others: int, step: float) -> None:
    assert step_of(members, others) == step


def test_rounding_by_hand() -> None:
    assert [to_step(value, 0.25) for value in (0.7, 0.62, 0.63, 0.125, 0.0, 1.0, -0.13)] == [0.75, 0.5, 0.75, 0.25, 0.0, 1.0, -0.25]
    assert [to_step(value, 0.25, "low") for value in (0.4, 0.25, 0.2, 0.0, -0.1)] == [0.25, 0.25, 0.0, 0.0, -0.25]
    assert [to_step(value, 0.25, "high") for value in (0.51, 0.5, 0.9, 1.0, -0.1)] == [0.75, 0.5, 1.0, 1.0, 0.0]
    assert to_step(0.3, 0.1, "low") == to_step(0.3, 0.1, "high") == 0.3
    assert [coarse(value) for value in (0.0, 0.0212, 3.3, 8000, 7970, 2.13, 0.98, 95)] == [0.0, 0.02, 3.15, 8000, 8000, 2.0, 1.0, 100]
    assert [p_bound(value) for value in (0.00001, 0.001, 0.0011, 0.05, 0.3, 1.0)] == [0.001, 0.001, 0.01, 0.05, 0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("copies", lambda tree: tree["copies"].update(copies=3 / 8000, copies_count=3, least_ratio=0.31234567)),
        ("tpr", lambda tree: tree["membership"]["images"].update(tpr_10=0.375)),
        ("training patches", lambda tree: tree.update(n_training_patches=tree["n_training_patches"] - 5)),
        ("a person without a vessel", lambda tree: tree["membership"]["inference"].update(members=7, least_p=1 / 330)),
        ("linkage to one person", lambda tree: tree["linkage"].update(chance=0.12543, top_share=0.3123, top_share_held_out=0.2987)),
        ("checkpoints", lambda tree: tree["checkpoints"][0].update(probe_dsc=0.123454321)),
        ("seed", lambda tree: tree["settings"].update(seed=77)),
    ],
)
def test_a_single_persons_doing_is_not_seen(audit: dict[str, Any], name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Counts and extremes that one person alone can make; after judging anew the shared numbers are the same."""
    trees = [copy.deepcopy(audit), copy.deepcopy(audit)]
    change(trees[1])
    trees = [{**tree, **judge(tree, AuditLimits())} for tree in trees]
    if name == "tpr":
        trees[0]["membership"]["images"]["tpr_10"] = 0.5
    assert shared_audit(trees[0]) == shared_audit(trees[1])
