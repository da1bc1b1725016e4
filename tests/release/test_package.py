"""What is in a package, what is not, and what a damaged one says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.release import package as module
from angiosynth.release.checksums import verify
from angiosynth.release.identifiers import Identifiers, find_identifiers
from angiosynth.release.package import FORMATS, SharedAudit, build_package, open_package, refusal
from angiosynth.release.signature import SUMS
from tests.release.conftest import AUDIT, TERMS

nib: Any = nibabel


def test_the_files_of_a_package(package: Path) -> None:
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert names == {
        "patches.npz",
        "nifti/image-00.nii.gz",
        "nifti/label-00.nii.gz",
        "README.md",
        "card.json",
        "croissant.json",
        "load.py",
        "audit/audit.json",
        "audit/index.html",
        "SHA256SUMS",
    }


def test_patches_and_stacks_are_the_set(package: Path, synthetic: PatchSet) -> None:
    with np.load(package / "patches.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["image"], synthetic.image)
    for name, part in (("image", synthetic.image), ("label", synthetic.label)):
        stack = nib.load(package / "nifti" / f"{name}-00.nii.gz")
        np.testing.assert_array_equal(np.moveaxis(np.asanyarray(stack.dataobj), 2, 0), part)
        np.testing.assert_allclose(stack.header.get_zooms(), (0.312, 0.312, 0.6), rtol=1e-6)
        assert bytes(stack.header["descrip"]).strip(b"\0") == b""


def test_stacks_are_cut_before_an_axis_is_too_long(
    package: Path, synthetic: PatchSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "STACK", 5)
    module._write_stacks(tmp_path / "nifti", "image", synthetic.image, (0.3, 0.3, 0.6))
    assert [nib.load(path).shape[2] for path in sorted((tmp_path / "nifti").iterdir())] == [5, 5, 2]


def test_the_loader_is_ten_lines_and_loads(package: Path) -> None:
    assert len((package / "load.py").read_text().splitlines()) == 10
    done = subprocess.run([sys.executable, str(package / "load.py")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(12, 16, 16) mean ")


def test_checksums_are_those_of_sha256sum(package: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_croissant_has_what_its_specification_requires(package: Path) -> None:
    tree = json.loads((package / "croissant.json").read_text())
    required = {"@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished", "distribution"}
    assert required <= set(tree)
    assert tree["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    sums = dict(line.split("  ")[::-1] for line in (package / SUMS).read_text().splitlines())
    for one in tree["distribution"]:
        assert one["@type"] == "cr:FileObject"
        assert one["sha256"] == sums[one["contentUrl"]]
        assert {"@id", "name", "encodingFormat", "contentSize"} <= set(one)


def test_the_croissant_passes_its_own_validator(package: Path) -> None:
    import mlcroissant  # brings much that no other test needs

    found = mlcroissant.Dataset(jsonld=str(package / "croissant.json"))
    assert not found.metadata.ctx.issues.errors


def test_a_package_comes_back_as_a_patch_set(package: Path, synthetic: PatchSet, tmp_path: Path) -> None:
    patches, intensity, told = open_package(package, None, tmp_path / "set")
    np.testing.assert_array_equal(patches.label, synthetic.label)
    assert (intensity.low, intensity.high) == (0.5, 99.9)
    assert told == "9 files agree with SHA256SUMS, not signed"


def test_a_reason_goes_into_card_and_readme(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    terms = replace(TERMS, override="asked for by the board")
    build_package(tmp_path / "p", synthetic, SharedAudit(AUDIT, audited), terms)
    assert json.loads((tmp_path / "p" / "card.json").read_text())["override"] == "asked for by the board"
    assert (
        "**Released against the audit's verdict.** The reason given: asked for by the board" in (tmp_path / "p" / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("generator", "Images and labels were drawn together."),
        ("unet", "Labels are those of a U-net that was trained on patches of the same people, and replaced"),
    ],
)
def test_card_and_readme_say_whose_labels_these_are(labels: str, said: str, synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    synthetic.meta.update({"labels": labels, "generator_labels_dsc": 0.81})
    build_package(tmp_path / "p", synthetic, SharedAudit(AUDIT, audited), TERMS)
    card = json.loads((tmp_path / "p" / "card.json").read_text())
    assert card["labels"] == labels
    assert "generator_labels_dsc" not in card  # of the generator, which stays
    assert said in (tmp_path / "p" / "README.md").read_text()


@pytest.mark.parametrize("what", ["card", "page", "name", "zip"])
def test_an_identifier_keeps_a_package_back(what: str, synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    if what == "card":
        synthetic.meta["model"] = "of SUB-X7"
    elif what == "page":
        (audited / "index.html").write_text("patient sub-x7")
    elif what == "zip":
        synthetic.image.reshape(-1)[:6] = np.frombuffer(b"sub-x7", np.uint8)
    target = tmp_path / ("sub-x7" if what == "name" else "p")
    with pytest.raises(InputError, match="sub-x7"):
        build_package(target, synthetic, SharedAudit(AUDIT, audited), TERMS, identifiers=Identifiers(["sub-x7"]))
    assert not target.exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_what_is_packed_is_searched_unpacked(package: Path) -> None:
    (package / "notes.json").write_text('{"who": "sub-\\u0030\\u0031"}')
    assert [found[0].name for found in find_identifiers(package, ["sub-01"], FORMATS)] == ["notes.json"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("patches.npz", "differs from its digest in SHA256SUMS"),
        ("gone", "is missing, but SHA256SUMS lists it"),
        ("stray", "is not in SHA256SUMS"),
        ("sums", "a line is no checksum of a file within"),
        ("none", "cannot be read; name the folder of a package"),
    ],
)
def test_a_package_that_is_not_whole_is_refused(package: Path, name: str, fault: str, tmp_path: Path) -> None:
    sums = package / SUMS
    if name == "patches.npz":
        raw = bytearray((package / name).read_bytes())
        raw[50] ^= 1
        (package / name).write_bytes(raw)
    elif name == "gone":
        (package / "load.py").unlink()
    elif name == "stray":
        (package / "extra.txt").write_text("x")
    elif name == "sums":
        sums.write_text(f"{'0' * 64}  ../../elsewhere\n")
    else:
        sums.unlink()
    with pytest.raises(InputError, match=re.escape(fault)) as caught:
        open_package(package, None, tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_there_is_left_alone(package: Path, synthetic: PatchSet, audited: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        build_package(package, synthetic, SharedAudit(AUDIT, audited), TERMS)
    verify(package, None)


@pytest.mark.parametrize("name", ["../up", ".hidden", "a b", "x" * 80])
def test_a_name_is_a_name(name: str, synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name"):
        build_package(tmp_path / name if name != "../up" else tmp_path / "..", synthetic, SharedAudit(AUDIT, audited), TERMS)


def test_an_audit_of_another_set_or_other_limits_is_no_audit() -> None:
    assert refusal(AUDIT, "abc", "def") == ""
    with pytest.raises(InputError, match="another set"):
        refusal(AUDIT, "other", "def")
    with pytest.raises(InputError, match="other settings or limits"):
        refusal(AUDIT, "abc", "other")
    for verdict in ("over", "inconclusive", "too few patients", "unclear"):
        assert refusal({**AUDIT, "verdicts": {"set": verdict}}, "abc", "def")
