"""From a trained GAN to an audit, from that to a package, and from the package to another lab's U-net."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import read_transfer
from angiosynth.privacy import real_audit
from angiosynth.privacy.copies import CopyAudit
from angiosynth.privacy.shared import shared_audit
from angiosynth.privacy.verdict import DRAWN
from angiosynth.project.workspace import Workspace
from angiosynth.reading import file_digest
from angiosynth.release.generator import read_generator
from angiosynth.release.identifiers import find_identifiers
from angiosynth.release.package import FORMATS
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.settings import Settings
from angiosynth.stages import audit as stage
from angiosynth.stages.audit import audit
from angiosynth.stages.audit_references import audit_references
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import fit_unet
from angiosynth.verbs.pretrain import pretrain_from
from angiosynth.verbs.release import ReleaseRequest, release
from tests.factories import lab_settings
from tests.stages.conftest import SETTINGS


def _other(**values: object) -> Settings:
    return lab_settings(transfer__patients=[1, 2], **values)


PROBED = lab_settings(transfer__patients=[1, 2], generator_defaults__probes=3)


class Recorded:
    """What a tracking server is sent of an audit."""

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}
        self.files: list[Path] = []

    def final(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def tag(self, name: str, value: str) -> None:
        assert name == "verdict_set"

    def artifact(self, path: Path) -> None:
        self.files.append(path)


def _unused(*_: Any) -> Any:
    raise AssertionError("it is among the references")


def _audited(home: Workspace) -> None:
    train_generator(PROBED, home, "wgan-gp")
    synthesize(SETTINGS, home, "wgan-gp")
    fit_unet(SETTINGS, home, "real", NullRecorder())
    audit(SETTINGS, home, "wgan-gp")


def test_an_audit_a_package_and_what_another_lab_makes_of_it(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _audited(home)
    folder = home.audit("wgan-gp")
    assert {path.name for path in folder.iterdir()} == {"audit.json", "index.html", "gallery.png", "scores.png", "shared"}
    assert {path.name for path in (folder / "shared").iterdir()} == {"audit.json", "index.html"}
    result = read_json(folder / "audit.json")
    assert result["patients"] == {"training": 2, "validation": 1, "test": 1, "held_out": 0, "held_out_labelled": 0}
    assert result["verdicts"]["set"] in {"too few patients", "over"}  # 2 and 1 patients: the least p is a third
    at = {one["step"]: one for one in result["checkpoints"]}
    assert list(at) == [2, 3, 4]
    assert [one["auc"] for one in at.values() if one["chosen"]] == [result["membership"]["images"]["auc"]]
    assert {one["control"] for one in at.values()} == {result["membership"]["images"]["control"]}
    names = [name for site in ("site-a", "site-b") for part in load_split(home.splits, site).__dict__.values() for name in part]
    kept = home.root / "kept"
    shutil.copytree(folder / "shared", kept)
    for name in ("audit.json", "index.html"):
        shutil.copy(folder / name, kept / f"house-{name}")
    assert list(find_identifiers(kept, [*names, "lab/a", str(Path.cwd())], FORMATS)) == []
    first = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert len(first) == 6
    audit_references(SETTINGS, home)
    assert {path.name for path in home.audit_references.iterdir()} == {"references.json", "references.npz"}
    assert not home.audit_references.stat().st_mode & 0o077
    recorded = Recorded()
    monkeypatch.setattr(stage, "training_run", lambda spec: nullcontext(recorded))
    with monkeypatch.context() as patched:
        patched.setattr(real_audit, "attack_overfitted_generator", _unused)
        patched.setattr(CopyAudit, "_thresholds", _unused)
        audit(SETTINGS, home, "wgan-gp")  # with these references, and the same to the byte
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == first
    shared = read_json(folder / "shared" / "audit.json")
    assert recorded.scores == {finding["name"]: finding["value"] for finding in shared["findings"]}  # rounded, as in a package
    assert {path.parent.name for path in recorded.files} == {"shared"}

    with pytest.raises(InputError, match="--override"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("demo", ""))
    with pytest.raises(InputError, match="--override"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("demo", "  "))
    monkeypatch.setenv("LOGNAME", "research")
    with pytest.raises(InputError, match=r"'research' .this user's name. in README\.md, card\.json; .*--allow-word research"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("demo", "for research"))
    release(SETTINGS, home, "wgan-gp", ReleaseRequest("allowed", "for research", allowed_words=["research"]))
    (home.root / "dvc.yaml").write_text("stages: {}\n")  # a project's folder keeps the manifest
    said = release(SETTINGS, home, "wgan-gp", ReleaseRequest("demo", "a test"))
    package = home.releases / "demo"
    manifest = read_json(home.root / "lineage" / "release-demo.json")
    assert manifest["inputs"]["set"] == read_json(package / "card.json")["set_digest"]
    assert manifest["outputs"] == {"SHA256SUMS": file_digest(package / "SHA256SUMS").hexdigest()}
    assert (manifest["settings"]["model"], manifest["settings"]["override"]) == ("wgan-gp", "a test")
    assert {key: manifest["settings"][key] for key in ("with_unet", "with_generator")} == {"with_unet": False, "with_generator": False}
    assert not any(name in json.dumps(manifest) for name in [*names, "lab/a", str(home.root.resolve())])
    assert "dvc add releases/demo" in said
    assert "gallery.png" not in {path.name for path in package.rglob("*")}
    assert list(find_identifiers(package, [*names, "lab/a", "lab/b", str(Path.cwd())], FORMATS)) == []
    assert "The reason given: a test" in (package / "README.md").read_text()
    spacings = [facts["spacing_mm"] for facts in read_json(home.cohort("site-a"))["patients"]]
    np.testing.assert_allclose(read_json(package / "card.json")["spacing_mm"], np.median(spacings, axis=0), rtol=0.005)
    with pytest.raises(InputError, match="unet"):  # the set's own is not trained yet
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("with-unet", "a test", with_unet=True))
    fit_unet(SETTINGS, home, "wgan-gp", NullRecorder())
    release(SETTINGS, home, "wgan-gp", ReleaseRequest("with-unet", "a test", with_unet=True))
    assert (home.releases / "with-unet" / "unet" / "unet.safetensors").is_file()
    label = np.load(home.synthetic("wgan-gp") / "label.npy")
    np.save(home.synthetic("wgan-gp") / "label.npy", 1 - label)
    audit(SETTINGS, home, "wgan-gp")
    with pytest.raises(InputError, match="unet/wgan-gp: was trained on another set"):  # with the same images
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("other-labels", "a test", with_unet=True))
    np.save(home.synthetic("wgan-gp") / "label.npy", label)
    audit(SETTINGS, home, "wgan-gp")
    _release_with_generator(home)

    choice = home.unet_choice.rename(home.root / "choice.json")
    with pytest.raises(InputError, match=r"unet-choice\.json: missing"):
        pretrain_from(SETTINGS, home, package, None)
    assert not home.unet("package").exists(), "said before the training"
    choice.rename(home.unet_choice)
    said = pretrain_from(SETTINGS, home, package, None)
    assert "validation patients of site-b" in said
    assert read_json(home.unet("package") / "unet.json")["package"] == "demo"
    assert {row.start for row in read_transfer(Path("metrics/transfer/package.csv"))} == {"package"}
    other = _other(cohort__intensity={"rule": "volume", "low": 1.0, "high": 99.0})
    with pytest.raises(InputError, match=r"was made with cohort\.intensity"):
        pretrain_from(other, home, package, None)

    for file, fault in (("shared/audit.json", "differs from what may be released"), ("audit.json", "damaged or of another version")):
        tree = read_json(home.audit("wgan-gp") / file)
        write_json(home.audit("wgan-gp") / file, {name: value for name, value in tree.items() if name != "planted"})
        with pytest.raises(InputError, match=fault):
            release(SETTINGS, home, "wgan-gp", ReleaseRequest("later", "a test"))
        write_json(home.audit("wgan-gp") / file, tree)
    with pytest.raises(InputError, match="other settings or limits"):
        release(_other(audit__limits={"auc": 0.99}), home, "wgan-gp", ReleaseRequest("later", "a test"))
    image = np.load(home.synthetic("wgan-gp") / "image.npy")
    image[0, 0, 0] ^= 1
    np.save(home.synthetic("wgan-gp") / "image.npy", image)
    with pytest.raises(InputError, match="another set"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("later", "a test"))
    assert not (home.releases / "later").exists()


def _release_with_generator(home: Workspace) -> None:
    """With no override against an audit; with one that allows it, and then it draws the released pairs."""
    with pytest.raises(InputError, match=r"the audit's verdict on its set is .* it stays, whatever --override says"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("with-generator", "a test", with_generator=True))
    folder = home.audit("wgan-gp")
    before = {name: read_json(folder / name) for name in ("audit.json", "shared/audit.json")}
    allowing = {**before["audit.json"], "verdicts": {"set": "within", "generator": "within", "critic": "over"}}
    write_json(folder / "audit.json", allowing)
    write_json(folder / "shared" / "audit.json", shared_audit(allowing))
    release(SETTINGS, home, "wgan-gp", ReleaseRequest("with-generator", with_generator=True))
    shipped = read_generator(home.releases / "with-generator")
    assert shipped is not None
    with np.load(home.releases / "with-generator" / "patches.npz") as stored:
        image, label = shipped.sampler.pairs(len(stored["image"]), SETTINGS.synthesis.seed, shipped.facts.threshold)
        np.testing.assert_array_equal(stored["image"], image)
        np.testing.assert_array_equal(stored["label"], label)
    write_json(folder / "audit.json", {**allowing, "generator_digest": "0" * 16})
    with pytest.raises(InputError, match="of other weights"):
        release(SETTINGS, home, "wgan-gp", ReleaseRequest("other-weights", with_generator=True))
    for name, tree in before.items():
        write_json(folder / name, tree)


def test_label_maps_of_the_generator_are_searched_where_u_nets_label_its_set(home: Workspace) -> None:
    labelled = lab_settings(synthesis__labels="unet", audit__drawn_labels=True)
    train_generator(labelled, home, "wgan-gp")
    fit_unet(labelled, home, "real", NullRecorder())
    synthesize(labelled, home, "wgan-gp")
    audit(labelled, home, "wgan-gp")
    results = read_json(home.audit("wgan-gp") / "audit.json")
    holders = {finding["name"]: finding["holder"] for finding in results["findings"]}
    assert {name: holders[name] for name in ("copies_labels", *DRAWN.values())} == {
        "copies_labels": "set",
        **dict.fromkeys(DRAWN.values(), "generator"),
    }
    shared = read_json(home.audit("wgan-gp") / "shared" / "audit.json")
    assert shared["settings"]["drawn_labels"] is True
    assert holders.keys() == {finding["name"] for finding in shared["findings"]}
    assert "label maps that the generator draws itself" in (home.audit("wgan-gp") / "index.html").read_text(encoding="utf-8")
    audit(lab_settings(synthesis__labels="unet"), home, "wgan-gp")  # off: as the set
    assert not set(DRAWN.values()) & {finding["name"] for finding in read_json(home.audit("wgan-gp") / "audit.json")["findings"]}


def test_no_set_leaves_without_an_audit(home: Workspace) -> None:
    with pytest.raises(InputError, match="there is no audit, and no set leaves without one; run `dvc repro audit@dcgan`"):
        release(SETTINGS, home, "dcgan", ReleaseRequest("demo", "a reason"))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_audit_needs_people_to_compare_with(home: Workspace, part: str) -> None:
    write_json(home.splits / "site-a.json", read_json(home.splits / "site-a.json") | {part: []})
    with pytest.raises(InputError, match=f"no {part} patient"):
        audit(SETTINGS, home, "wgan-gp")
