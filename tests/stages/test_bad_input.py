"""What hospitals' files are like: through checking, patch cutting and segmenting, the right answer or one clear line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from angiosynth.data.bids import find_patients
from angiosynth.data.checks import check_patients
from angiosynth.data.nifti import read_volume
from angiosynth.data.patches import build_patches, open_patch_set
from angiosynth.errors import InputError
from angiosynth.settings import IntensitySettings, PatchSettings
from angiosynth.verbs.segment import segment
from tests.factories import affine_of, make_arrays, write_nifti

nib: Any = nibabel
SHAPE = (40, 36, 4)
PATCHES = PatchSettings(size=16, on_vessels=12, on_bright=4, in_brain=8, seed=2)
STEM = "sub-01/anat/sub-01"
SCAN, BRAIN, LABEL = (f"{STEM}_{end}.nii.gz" for end in ("angio", "desc-brain_mask", "desc-vessel_mask"))


def write_patient(root: Path, shape: tuple[int, int, int] = SHAPE, orientations: tuple[str, str, str] = ("RAS",) * 3, **kinds: Any) -> Path:
    """Scan, brain mask and label in BIDS; `kinds` may give an affine and the masks' number type."""
    kind = kinds.pop("kind", np.uint8)
    image, brain, label = make_arrays(shape, 5, tubes=3)
    for name, array, orientation in zip((SCAN, BRAIN, LABEL), (image, brain.astype(kind), label.astype(kind)), orientations, strict=True):
        write_nifti(root / name, array, orientation=orientation, **kinds)
    return root


def oblique() -> NDArray[Any]:
    """Turned by 20 degrees about z, then by 10 about x."""
    z, x = np.deg2rad(20), np.deg2rad(10)
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    affine = affine_of()
    affine[:3, :3] = about_x @ about_z @ affine[:3, :3]
    return affine


Answer = tuple[tuple[int, int], tuple[float, float, float], NDArray[Any], NDArray[Any]]


def answer(root: Path, model: Path) -> Answer:
    """What comes out: voxels of brain and vessel, spacing, patches, and the canonical mask of `segment`, which lies on the scan's grid."""
    (facts,), faults = check_patients(find_patients(root))
    assert faults == []
    build_patches(root, ["sub-01"], PATCHES, IntensitySettings(), root / "patches")
    patches = open_patch_set(root / "patches")
    assert len(patches) > 0
    segment(root / SCAN, root / "out.nii.gz", root / BRAIN, str(model))
    written, source = nib.load(root / "out.nii.gz"), nib.load(root / SCAN)
    assert written.shape == source.shape
    np.testing.assert_array_equal(written.affine, source.affine)
    assert (root / "out.png").stat().st_size > 1000
    result = read_volume(root / "out.nii.gz").array > 0.5
    return (facts.brain_voxels, facts.vessel_voxels), facts.spacing_mm, np.stack(patches.pairs(np.arange(len(patches)))), result


RIGHT: dict[str, dict[str, Any]] = {
    "masks of 64-bit floats": {"kind": np.float64},
    "LAS": {"orientations": ("LAS",) * 3},
    "PIR": {"orientations": ("PIR",) * 3},
    "masks stored otherwise than the scan": {"orientations": ("LPS", "RAS", "PIR")},
    "oblique": {"affine": oblique()},
    "oblique and LPS": {"affine": oblique(), "orientations": ("LPS",) * 3},
}


@pytest.mark.parametrize("files", RIGHT.values(), ids=RIGHT)
def test_other_storage_gives_the_same_answer(tmp_path: Path, model: Path, files: dict[str, Any]) -> None:
    expected = answer(write_patient(tmp_path / "plain"), model)
    result = answer(write_patient(tmp_path / "other", **files), model)
    assert result[0] == expected[0]
    assert result[1] == pytest.approx(expected[1], rel=1e-6)
    np.testing.assert_array_equal(result[2], expected[2])
    np.testing.assert_array_equal(result[3], expected[3])
    assert 0 < np.count_nonzero(result[3]) < result[3].size


def test_a_volume_of_one_slice(tmp_path: Path, model: Path) -> None:
    voxels, _, patches, result = answer(write_patient(tmp_path / "lab", (40, 36, 1)), model)
    _, brain, label = make_arrays((40, 36, 1), 5, tubes=3)
    assert voxels == (brain.sum(), label.sum())
    assert patches.shape[2:] == (16, 16)
    assert result.shape == (40, 36, 1)
    assert np.count_nonzero(result) > 0


def _written(name: str, change: Callable[[NDArray[Any]], NDArray[Any]], **kinds: Any) -> Callable[[Path], None]:
    def inject(root: Path) -> None:
        write_nifti(root / name, change(read_volume(root / name).array), **kinds)

    return inject


def _cut(name: str) -> Callable[[Path], None]:
    def inject(root: Path) -> None:
        raw = (root / name).read_bytes()
        (root / name).write_bytes(raw[: len(raw) * 2 // 3])

    return inject


def _zero_spacing(root: Path) -> None:
    image = nib.load(root / SCAN)
    header = image.header
    nib.save(image, root / "plain.nii")
    raw = bytearray((root / "plain.nii").read_bytes())
    header["pixdim"][3] = 0
    raw[:348] = header.binaryblock
    (root / SCAN).write_bytes(raw)  # not compressed, whatever its name: also read
    (root / "plain.nii").unlink()


def _first(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """One voxel of a mask set to another value."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        changed = array.copy()
        changed[tuple(np.argwhere(array)[0])] = value
        return changed

    return change


def _same(array: NDArray[Any]) -> NDArray[Any]:
    return array


SHIFTED = affine_of(origin=(-10.0, 5.0, 4.1))  # by one slice
BAD: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "mask of another shape": (_written(BRAIN, lambda array: array[:, :, :-1]), BRAIN, "shape"),
    "mask of another affine": (_written(BRAIN, _same, affine=SHIFTED), BRAIN, "affine is not the scan's"),
    "mask mirrored": (_written(BRAIN, _same, affine=affine_of() * np.array([-1, 1, 1, 1.0])), BRAIN, "affine is not the scan's"),
    "mask of halves": (_written(BRAIN, _first(0.5)), BRAIN, "instead of only 0 and 1"),
    "mask of classes": (_written(BRAIN, _first(2)), BRAIN, "instead of only 0 and 1"),
    "mask oblique": (_written(BRAIN, _same, affine=oblique()), BRAIN, "affine is not the scan's"),
    "mask cut short": (_cut(BRAIN), BRAIN, "cut short"),
    "scan cut short": (_cut(SCAN), SCAN, "cut short"),
    "scan of zero spacing": (_zero_spacing, SCAN, "voxel size"),
    "label of another shape": (_written(LABEL, lambda array: array[:-1]), LABEL, "shape"),
    "label of another affine": (_written(LABEL, _same, affine=SHIFTED), LABEL, "affine is not the scan's"),
    "label of halves": (_written(LABEL, _first(0.5)), LABEL, "instead of only 0 and 1"),
    "label of classes": (_written(LABEL, _first(3)), LABEL, "instead of only 0 and 1"),
    "label cut short": (_cut(LABEL), LABEL, "cut short"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patient(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(("inject", "file", "message"), BAD.values(), ids=BAD)
def test_a_fault_is_one_line_that_names_the_file(
    sound: Path, tmp_path: Path, model: Path, inject: Callable[[Path], None], file: str, message: str
) -> None:
    root = tmp_path / "lab"
    shutil.copytree(sound, root)
    inject(root)
    _, faults = check_patients(find_patients(root))
    with pytest.raises(InputError) as cutting:
        build_patches(root, ["sub-01"], PATCHES, IntensitySettings(), root / "patches")
    lines = [*faults, str(cutting.value)]
    assert not (root / "patches").exists()
    if file != LABEL:  # segment needs none
        with pytest.raises(InputError) as segmenting:
            segment(root / SCAN, root / "out.nii.gz", root / BRAIN, str(model))
        lines.append(str(segmenting.value))
        assert not (root / "out.nii.gz").exists()
    for line in lines:
        assert str(root / file) in line
        assert message in line
        assert "\n" not in line
    assert len(faults) == 1
