"""The cohort stage: splits by patient and what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import BRAIN, LABEL, SCAN, find_patients
from angiosynth.data.cohort import build_cohort
from angiosynth.data.intensity import load_scan
from angiosynth.data.nifti import load_volume
from angiosynth.data.split import Split, load_split
from angiosynth.errors import InputError
from angiosynth.settings import CohortSettings, IntensitySettings, SiteSettings, SplitSettings
from tests.factories import make_arrays, make_cohort, write_nifti

SHAPE = (40, 44, 6)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("sound"), 3, SHAPE)


@pytest.fixture
def cohort(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "lab")
    return tmp_path / "lab"


def _plan(train: int | tuple[str, ...], validation: int | tuple[str, ...], test: int | tuple[str, ...]) -> SplitSettings:
    return SplitSettings(train=train, validation=validation, test=test)


def _settings(*sites: Path, plan: SplitSettings | None = None) -> CohortSettings:
    """site-a, of which three patients are wanted where nothing else is said, then site-b and so on, of which nobody is."""
    plans = [plan or _plan(1, 1, 1), *[_plan(0, 0, 0)] * 2]
    named = {f"site-{'abc'[n]}": SiteSettings(path=str(site), split=plans[n]) for n, site in enumerate(sites)}
    return CohortSettings(source="site-a", sites=named)


def test_sites_must_not_share_patients(cohort: Path, tmp_path: Path) -> None:
    other = make_cohort(tmp_path / "other", 1, SHAPE, seed=5)
    shutil.copytree(cohort / "sub-02", other / "sub-02")
    first, second = (folder / "sub-02/anat/sub-02_angio.nii.gz" for folder in (cohort, other))
    with pytest.raises(InputError, match=f"{second}: the same scan as {first}, so one person"):
        build_cohort(_settings(cohort, other), tmp_path / "splits", tmp_path / "out")


def test_scans_without_mask_and_label_are_usable_for_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_cohort(tmp_path / "lab", 2, SHAPE, labelled=False, masked=False)
    settings = _settings(folder, plan=_plan(0, 0, 0))
    build_cohort(settings, tmp_path / "splits", tmp_path / "out")
    assert capsys.readouterr().err.count("no brain mask; the whole volume is used") == 2
    assert load_split(tmp_path / "splits", "site-a") == Split(unlabelled=("sub-01", "sub-02"))
    scan = load_scan(find_patients(folder)[0], IntensitySettings())
    assert scan.label is None
    assert scan.brain.all()
    (first, _) = json.loads((tmp_path / "out" / "site-a.json").read_text())["patients"]
    assert (first["labelled"], first["masked"], first["brain_voxels"]) == (False, False, 40 * 44 * 6)


def test_build_is_deterministic_and_tells_the_digest(sound: Path, tmp_path: Path) -> None:
    for run in ("one", "two"):
        build_cohort(_settings(sound), tmp_path / run / "splits", tmp_path / run / "out")
    for name in ("splits/site-a.json", "out/site-a.json", "out/site-a.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    written = json.loads((tmp_path / "one/out/site-a.json").read_text())
    assert written["root"] == str(sound)
    assert len(written["digest"]) == 64
    assert len(list((tmp_path / "one").rglob("*.*"))) == 3


def test_no_header_text_reaches_the_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = make_arrays(SHAPE, 1)[0]
    write_nifti(tmp_path / "lab/sub-1/anat/sub-1_angio.nii.gz", scan, description="Jane Doe")
    settings = _settings(tmp_path / "lab", plan=_plan(0, 0, 0))
    build_cohort(settings, tmp_path / "out", tmp_path / "out2")
    texts = [path.read_bytes().decode("utf-8", "replace") for path in (*(tmp_path / "out").iterdir(), *(tmp_path / "out2").iterdir())]
    assert len(texts) == 3
    assert "Jane" not in "".join([*texts, capsys.readouterr().err])


def _twin_of(cohort: Path, site: Path, change: str) -> Path:
    """A second patient whose scan is the first one's, changed as copies are."""
    stem = site / "sub-99" / "anat" / "sub-99"
    arrays = [load_volume(cohort / f"sub-01/anat/sub-01{role}.nii.gz", np.int16).volume.array for role in (SCAN, BRAIN, LABEL)]
    scan, brain, label = (np.asarray(array) for array in arrays)
    label[tuple(np.argwhere(label)[0])] = 0  # a voxel less, so that the label is no copy
    if change == "turned without its header":
        scan, brain, label = scan[::-1], brain[::-1], label[::-1]
    if change == "rounded":
        scan = (scan // 8) * 8
    order = "PIL" if change == "turned" else "RAS"
    for role, array in ((SCAN, scan), (BRAIN, brain), (LABEL, label)):
        write_nifti(Path(f"{stem}{role}.nii{'' if change == 'unpacked' else '.gz'}"), array, orientation=order)
    return Path(f"{stem}{SCAN}.nii{'' if change == 'unpacked' else '.gz'}")


@pytest.mark.parametrize("change", ["packed anew", "unpacked", "turned", "turned without its header", "rounded"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["one site", "two sites"])
def test_one_scan_under_two_names_is_refused_or_reported(
    cohort: Path, tmp_path: Path, change: str, elsewhere: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mask that differs by a voxel does not hide it. A rounded copy is no certain one, and told."""
    site = make_cohort(tmp_path / "other", 1, SHAPE, seed=5) if elsewhere else cohort
    twin = _twin_of(cohort, site, change)
    first = cohort / "sub-01/anat/sub-01_angio.nii.gz"
    settings = _settings(cohort, site) if elsewhere else _settings(cohort)
    if change == "rounded":
        build_cohort(settings, tmp_path / "splits", tmp_path / "out")
        assert f"{twin}: looks like {first} processed once more" in capsys.readouterr().err
        return
    with pytest.raises(InputError, match=f"1 fault found.*\n  {twin}: the same scan as {first}"):
        build_cohort(settings, tmp_path / "splits", tmp_path / "out")
    assert not (tmp_path / "splits").exists()


def test_three_sites_are_checked_together_or_one_by_one(cohort: Path, tmp_path: Path) -> None:
    """DVC runs a stage a site."""
    settings = _settings(cohort, *(make_cohort(tmp_path / name, 1, SHAPE, seed=seed) for name, seed in (("b", 5), ("c", 6))))
    build_cohort(settings, tmp_path / "together" / "splits", tmp_path / "together" / "out")
    for site in settings.sites:
        build_cohort(settings, tmp_path / "single" / "splits", tmp_path / "single" / "out", site)
    names = [path.relative_to(tmp_path / "together") for path in sorted((tmp_path / "together").rglob("*.*"))]
    assert len(names) == 9
    for name in names:
        assert (tmp_path / "single" / name).read_bytes() == (tmp_path / "together" / name).read_bytes(), name


@pytest.mark.parametrize("first", ["site-a", "site-b"])
def test_a_site_checked_alone_is_compared_with_what_is_known_of_the_others(cohort: Path, tmp_path: Path, first: str) -> None:
    other = make_cohort(tmp_path / "other", 1, SHAPE, seed=5)
    _twin_of(cohort, other, "packed anew")
    settings = _settings(cohort, other)
    build_cohort(settings, tmp_path / "splits", tmp_path / "out", first)
    (second,) = set(settings.sites) - {first}
    with pytest.raises(InputError, match=r"1 fault found.*`python cli\.py cohort` looks at all of them\n.*: the same scan as"):
        build_cohort(settings, tmp_path / "splits", tmp_path / "out", second)
    assert not (tmp_path / "splits" / f"{second}.json").exists()


@pytest.mark.parametrize("how", ["a patient moves", "the sites change folders"])
def test_what_has_gone_from_another_site_is_no_copy(cohort: Path, tmp_path: Path, how: str) -> None:
    """Of another site there are only the fingerprints of its last check."""
    other = make_cohort(tmp_path / "other", 2, SHAPE, seed=5)
    settings = _settings(cohort, other)
    build_cohort(settings, tmp_path / "splits", tmp_path / "out")
    if how == "a patient moves":
        (other / "sub-02").rename(cohort / "sub-99")
        for path in sorted((cohort / "sub-99").rglob("sub-02*")):
            path.rename(path.with_name(path.name.replace("sub-02", "sub-99")))
    else:
        settings = _settings(other, cohort, plan=_plan(1, 1, 0))
    for site in settings.sites:
        build_cohort(settings, tmp_path / "splits", tmp_path / "out", site)
    patients = {site: json.loads((tmp_path / "out" / f"{site}.json").read_text())["patients"] for site in settings.sites}
    assert {site: len(known) for site, known in patients.items()} == (
        {"site-a": 4, "site-b": 1} if how == "a patient moves" else {"site-a": 2, "site-b": 3}
    )


def test_one_label_under_two_names_is_refused(cohort: Path, tmp_path: Path) -> None:
    role = "desc-vessel_mask.nii.gz"
    shutil.copy(cohort / f"sub-01/anat/sub-01_{role}", cohort / f"sub-02/anat/sub-02_{role}")
    with pytest.raises(InputError, match=r"sub-02_desc-vessel_mask.nii.gz: the same label as .*sub-01_desc"):
        build_cohort(_settings(cohort), tmp_path / "splits", tmp_path / "out")


def test_what_later_stages_need_is_tried_here(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A brain without contrast would stop the patches; the grids' sources are said."""
    build_cohort(_settings(cohort), tmp_path / "splits", tmp_path / "out")
    assert "site-a: grids taken from sform (3 scans)" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "site-a.json").read_text())["patients"][0]["grid_from"] == "sform"
    scan, brain, _ = make_arrays(SHAPE, 1)
    scan[brain > 0] = 300
    write_nifti(cohort / "sub-02/anat/sub-02_angio.nii.gz", scan)
    with pytest.raises(InputError, match=r"sub-02_angio.nii.gz: no contrast inside the brain"):
        build_cohort(_settings(cohort), tmp_path / "splits", tmp_path / "out")
