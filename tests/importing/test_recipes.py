"""The recipes of docs/datasets.md on made-up folders of the layouts that the page describes, and the labels that are refused."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.importing.known_labels import no_vessel_label, small_label_note
from tests.documented import shown
from tests.factories import affine_of
from tests.foreign import write_meta
from tests.importing.lab import SHAPE, save
from tests.importing.test_foreign_lab import mended
from tests.importing.test_tubes import scene, tube

LPS = np.diag([-0.8, -0.9, 1.1, 1.0])


def _tubetk(folder: Path) -> None:
    for seed, name in enumerate(("Normal-001", "Normal-034"), start=1):
        scan, brain, _ = mended(seed)
        stem = folder / name / "MRA" / f"{name.replace('-', '')}-MRA"
        write_meta(stem.with_suffix(".mha"), scan, LPS, packed=True)
        save(stem.with_name(f"{stem.name}_brain.nii.gz"), brain, LPS)
    tree = folder / "Normal-001" / "AuxillaryData" / "VascularNetwork.tre"
    tree.parent.mkdir()
    points = [[6 + 0.5 * step, 12, 2, 1.2] for step in range(14)]
    tree.write_text(scene(tube(points, ElementSpacing="0.8 0.9 1.1"), tube(points[:3], ElementSpacing="0.8 0.9 1.1", ParentID="1")))


def _table(folder: Path) -> None:
    scan, brain, label = mended(1)
    for name, array in (("images/A1.nii.gz", scan), ("labels/A1_seg.nii.gz", label), ("A1_brain.nii.gz", brain)):
        save(folder / name, array, affine_of())
    Path("files.csv").write_text("scan,vessels,brain\nimages/A1.nii.gz,labels/A1_seg.nii.gz,A1_brain.nii.gz\n")


def _costa(folder: Path) -> None:
    for seed, name in enumerate(("head_a", "head_b"), start=1):
        for place, array in zip(("imagesTr", "BrainMask", "labelsTr"), mended(seed), strict=True):
            save(folder / place / f"{name}.nii.gz", array, affine_of())


def _topcow(folder: Path) -> None:
    for seed, name in enumerate(("topcow_mr_001", "topcow_ct_001", "topcow_mr_002"), start=1):
        scan, brain, label = mended(seed)
        save(folder / "imagesTr" / f"{name}_0000.nii.gz", scan, affine_of())
        save(folder / "cow_seg_labelsTr" / f"{name}.nii.gz", label * (1 + np.arange(SHAPE[0]) % 12)[:, None, None], affine_of())
        save(folder / "brains" / f"{name}.nii.gz", brain, affine_of())


def _ixi(folder: Path) -> None:
    for seed, name in enumerate(("IXI002-Guys-0828-MRA", "IXI013-HH-1212-MRA"), start=1):
        save(folder / f"{name}.nii.gz", mended(seed)[0], affine_of())
        save(folder / f"{name}_brain.nii.gz", mended(seed)[1], affine_of())


def _adam(folder: Path) -> None:
    for seed, name in enumerate(("10001", "10002"), start=1):
        scan, brain, label = mended(seed)
        save(folder / name / "pre" / "TOF.nii.gz", scan, affine_of())
        save(folder / name / "orig" / "TOF.nii.gz", scan, affine_of())
        save(folder / name / "pre" / "TOF_brain.nii.gz", brain, affine_of())
        save(folder / name / "aneurysms.nii.gz", label, affine_of())
        (folder / name / "location.txt").write_text("10, 12, 2, 3\n")


def _lausanne(folder: Path) -> None:
    for seed, (name, session) in enumerate((("sub-022", "ses-20101011"), ("sub-023", "ses-20110101")), start=1):
        scan, brain, label = mended(seed)
        stem = folder / name / session / "anat" / f"{name}_{session}_angio"
        save(stem.with_name(f"{stem.name}.nii.gz"), scan, affine_of())
        save(stem.with_name(f"{stem.name}_brain.nii.gz"), brain, affine_of())
        lesions = folder / "derivatives" / "manual_masks" / name / session / "anat"
        save(lesions / f"{name}_{session}_desc-Lesion_1_mask.nii.gz", label, affine_of())


# The command of the page -> its example of a folder, what makes such a folder, patients and labels.
RECIPES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "python cli.py import /tubetk --scan '*/MRA/*-MRA' --vessels '*/AuxillaryData/VascularNetwork' --brain '*/MRA/*-MRA_brain' --dry-run": (
        "/tubetk",
        _tubetk,
        "2 patients, 1 with a label",
    ),
    "python cli.py import /where/costa --scan 'imagesTr/*' --vessels 'labelsTr/*' --brain 'BrainMask/*' --dry-run": (
        "/where/costa",
        _costa,
        "2 patients, 2 with a label",
    ),
    "python cli.py import /where/they/are --table files.csv --dry-run": ("/where/they/are", _table, "1 patients, 1 with a label"),
    "python cli.py import /where/topcow --scan 'imagesTr/topcow_mr_*_0000' --brain 'brains/topcow_mr_*' --dry-run": (
        "/where/topcow",
        _topcow,
        "2 patients, 0 with a label",
    ),
    "python cli.py import /where/ixi --scan '*-MRA' --brain '*-MRA_brain' --dry-run": ("/where/ixi", _ixi, "2 patients, 0 with a label"),
    "python cli.py import /where/adam --scan '*/pre/TOF' --brain '*/pre/TOF_brain' --dry-run": (
        "/where/adam",
        _adam,
        "2 patients, 0 with a label",
    ),
    "python cli.py import /where/lausanne --scan 'sub-*/ses-*/anat/*_angio' --brain 'sub-*/ses-*/anat/*_angio_brain' --dry-run": (
        "/where/lausanne",
        _lausanne,
        "2 patients, 0 with a label",
    ),
}


def call(command: str, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, [*shlex.split(command)[2:], *more])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    return done.exit_code, done.output


def test_every_recipe_of_the_page_is_here() -> None:
    assert {one.command for one in shown() if one.page == "docs/datasets.md"} == set(RECIPES)


@pytest.mark.parametrize("command", RECIPES, ids=[example for example, _, _ in RECIPES.values()])
def test_a_recipe_takes_the_folder_that_it_describes(tmp_path: Path, project: Path, command: str) -> None:
    example, make, told = RECIPES[command]
    make(tmp_path / "set")
    code, output = call(command.replace(example, shlex.quote(str(tmp_path / "set"))))
    assert code == 0, output
    assert output.splitlines()[-1] == f"{told}; nothing written"
    if make is _tubetk:
        assert "vessels: 2 tubes of 17 points drawn" in output


@pytest.mark.parametrize(
    ("make", "scan", "vessels", "reason"),
    [
        (_topcow, "imagesTr/topcow_mr_*_0000", "cow_seg_labelsTr/topcow_mr_*", "marks the circle of Willis alone"),
        (_adam, "*/pre/TOF", "*/aneurysms", "marks aneurysms, as in the ADAM set, and no vessel"),
        (_lausanne, "sub-*/ses-*/anat/*_angio", "**/*_desc-Lesion_1_mask", "marks aneurysms, as in the Lausanne set"),
    ],
)
def test_labels_of_other_things_are_refused_with_the_reason(
    tmp_path: Path, project: Path, make: Callable[[Path], None], scan: str, vessels: str, reason: str
) -> None:
    make(tmp_path / "set")
    words = ["--scan", scan, "--vessels", vessels, "--vessel-values", "all", "--without-brain", "whole", "--dry-run"]
    if make is _lausanne:  # its labels lie in another folder: a table pairs them
        rows = [
            (path, path.as_posix().replace("_angio", "_desc-Lesion_1_mask"))
            for path in (tmp_path / "set").glob("sub-*/*/anat/*_angio.nii.gz")
        ]
        lines = [f"{a.relative_to(tmp_path / 'set')},derivatives/manual_masks/{Path(b).relative_to(tmp_path / 'set')}" for a, b in rows]
        Path("files.csv").write_text("scan,vessels\n" + "\n".join(lines) + "\n")
        words = ["--table", "files.csv", *words[4:]]
    code, text = call(f"python cli.py import {shlex.quote(str(tmp_path / 'set'))}", *words)
    assert code == 2
    assert text.count(reason) == 2
    assert "leave out --vessels: such scans can be segmented" in text


@pytest.mark.parametrize(
    "name",
    ["labels/A1.nii.gz", "aneurysm-clinic/P1_vessels.nii.gz", "topcow-like/P1.nii.gz", "a/topcow_mr_001_0000.nii.gz", "x_lesion.nii"],
)
def test_other_names_are_no_known_labels(name: str) -> None:
    assert no_vessel_label(Path("/data") / name) == ""


def test_a_label_of_a_thousandth_of_the_brain_is_said() -> None:
    assert "0.020% of the brain, arteries are about 1%" in small_label_note(0.0002)
    assert small_label_note(0.004) == ""
