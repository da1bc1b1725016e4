"""Stages cohort and patches: what later stages would stumble over is refused before anything is cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from angiosynth.data.patches import open_patch_set
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace
from angiosynth.settings import Settings
from angiosynth.stages.cohort import cohort
from angiosynth.stages.patches import patches
from tests.factories import make_arrays, make_cohort, tiny_settings, write_nifti


def _alone(site: Path, split: Mapping[str, Any]) -> Settings:
    return tiny_settings(cohort={"source": "site-a", "sites": {"site-a": {"path": str(site), "split": split}}})


@pytest.mark.parametrize(("orientation", "shape"), [("RAS", (40, 15, 6)), ("PSR", (15, 40, 6)), ("SAL", (12, 12, 40))])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_scan_smaller_than_a_patch_is_refused_whatever_its_part_and_order(
    tmp_path: Path, orientation: str, shape: tuple[int, int, int], part: str
) -> None:
    """Test and validation patients' patches are cut by the audit, hours later."""
    site = make_cohort(tmp_path / "site", 3)
    parts = dict(zip(("train", "validation", "test"), ("sub-01", "sub-02", "sub-03"), strict=True))
    stem = site / parts[part] / "anat" / parts[part]
    for role, array in zip(("angio", "desc-brain_mask", "desc-vessel_mask"), make_arrays(shape, 9), strict=True):
        write_nifti(Path(f"{stem}_{role}.nii.gz"), array, orientation=orientation)
    split = {name: [patient] for name, patient in parts.items()}
    settings = _alone(site, split)
    home = Workspace(root=tmp_path, data_root=tmp_path)
    cohort(settings, home)
    output = f"{stem}_angio.nii.gz: slices of {shape[0]} x {shape[1]} are smaller than a patch of 16; lower patches.size"
    with pytest.raises(InputError, match=output):
        patches(settings, home)
    assert not home.patches("site-a").exists()


def test_slices_as_large_as_a_patch_are_cut(tmp_path: Path) -> None:
    site = make_cohort(tmp_path / "site", 3, (16, 16, 6))
    plan = {"train": 1, "validation": 1, "test": 1}
    settings = _alone(site, plan)
    home = Workspace(root=tmp_path, data_root=tmp_path)
    cohort(settings, home)
    patches(settings, home)
    assert len(open_patch_set(home.patches("site-a"))) > 0
