"""Reading and writing volumes: geometry by hand, all 48 orientations, damaged files."""

from __future__ import annotations

import gzip
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from angiosynth.data.nifti import canonical_shape, load_mask, load_volume, read_volume, write_mask
from angiosynth.errors import InputError
from tests.factories import affine_of, write_nifti

nib: Any = nibabel

ORIENTATIONS = ["".join(code) for axes in itertools.permutations(("RL", "AP", "SI")) for code in itertools.product(*axes)]
SHAPE = (3, 4, 5)


def test_all_orientations_are_listed() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_reads_as_the_same_canonical_volume(tmp_path: Path, orientation: str) -> None:
    array = np.arange(60, dtype=np.int16).reshape(SHAPE)
    path = write_nifti(tmp_path / "scan.nii", array, orientation=orientation)
    volume = read_volume(path)
    assert load_volume(path).orientation == orientation
    assert canonical_shape(path) == SHAPE
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine_of(), atol=1e-5)
    assert volume.spacing_mm == pytest.approx((0.8, 0.9, 1.1))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ORIENTATIONS), st.tuples(*(st.integers(0, length - 1) for length in SHAPE)), st.booleans())
def test_a_voxel_is_written_where_it_is_in_the_world(tmp_path: Path, orientation: str, voxel: tuple[int, int, int], packed: bool) -> None:
    reference = write_nifti(tmp_path / "scan.nii.gz", np.ones(SHAPE, np.int16), orientation=orientation)
    mask = np.zeros(SHAPE, np.bool_)
    mask[voxel] = True
    target = tmp_path / ("mask.nii.gz" if packed else "mask.nii")
    write_mask(mask, reference, target)
    scan, written = nib.load(reference), nib.load(target)
    assert written.shape == scan.shape
    np.testing.assert_array_equal(written.affine, scan.affine)
    (result,) = np.argwhere(np.asanyarray(written.dataobj))
    # affine_of: spacing 0.8, 0.9, 1.1 from (-10, 5, 3)
    expected = np.array([-10.0, 5.0, 3.0]) + np.array(voxel) * [0.8, 0.9, 1.1]
    np.testing.assert_allclose((written.affine @ [*result, 1.0])[:3], expected, atol=1e-4)
    np.testing.assert_array_equal(load_mask(target).volume.array, mask)


def test_oblique_scan_keeps_codes_units_and_both_forms(tmp_path: Path) -> None:
    turn = np.deg2rad(20)
    affine = np.array([[np.cos(turn), -np.sin(turn), 0, 1], [np.sin(turn), np.cos(turn), 0, 2], [0, 0, -2, 3], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), affine)
    image.header.set_qform(affine, code=1)
    image.header.set_sform(affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "scan.nii")
    assert load_volume(tmp_path / "scan.nii").orientation == "RAI"
    mask = np.zeros(SHAPE, np.bool_)
    mask[0, 0, 4] = True  # uppermost: the file's first slice
    write_mask(mask, tmp_path / "scan.nii", tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    source = nib.load(tmp_path / "scan.nii").header
    for field in ("qform_code", "sform_code", "xyzt_units", "srow_x", "srow_z", "quatern_b", "quatern_d", "qoffset_x", "pixdim"):
        np.testing.assert_array_equal(written.header[field], source[field])
    assert written.get_data_dtype() == np.uint8
    assert np.asanyarray(written.dataobj)[0, 0, 0] == 1


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR", "LPS", "SAL"])
def test_simpleitk_sees_the_mask_on_the_scans_grid(tmp_path: Path, orientation: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    turn = np.deg2rad(15)
    affine = affine_of()
    affine[:3, :3] = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ affine[:3, :3]
    scan = write_nifti(tmp_path / "scan.nii.gz", np.ones(SHAPE, np.int16), affine, orientation)
    mask = np.zeros(SHAPE, np.bool_)
    mask[2, 1, 4] = True
    write_mask(mask, scan, tmp_path / "mask.nii.gz")
    source, written = (sitk.ReadImage(str(path)) for path in (scan, tmp_path / "mask.nii.gz"))
    assert written.IsSameImageGeometryAs(source)
    ((z, y, x),) = np.argwhere(sitk.GetArrayFromImage(written))  # its arrays are (z, y, x), its world has x and y the other way
    place = np.array(written.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))) * [-1, -1, 1]
    np.testing.assert_allclose(place, (affine @ [2, 1, 4, 1])[:3], atol=1e-4)


def test_big_endian_scaled_and_nifti2_files_are_read(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(SHAPE)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    image = nib.Nifti1Image(array, affine_of(), header)
    image.header.set_slope_inter(0.5, -3)
    image.header.set_data_shape(SHAPE)
    with (tmp_path / "big.nii").open("wb") as stream:
        image.header["vox_offset"] = 352
        stream.write(image.header.binaryblock + b"\0" * 4 + array.astype(">i2").tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(tmp_path / "big.nii").array, array * 0.5 - 3)
    nib.save(nib.Nifti2Image(array, affine_of()), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii.gz").array, array)
    write_mask(array > 7, tmp_path / "two.nii.gz", tmp_path / "mask.nii.gz")
    assert isinstance(nib.load(tmp_path / "mask.nii.gz"), nib.Nifti2Image)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii.gz").volume.array, array > 7)


def test_trailing_axis_of_one_is_dropped_and_comes_back_in_the_mask(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(SHAPE)
    nib.save(nib.Nifti1Image(array[..., None], affine_of()), tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").array.shape == SHAPE
    write_mask(array > 30, tmp_path / "scan.nii", tmp_path / "mask.nii")
    written = nib.load(tmp_path / "mask.nii")
    assert written.shape == (*SHAPE, 1)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj)[..., 0], array > 30)


def test_no_header_text_leaves_the_scan_and_bytes_repeat(tmp_path: Path) -> None:
    reference = write_nifti(tmp_path / "scan.nii", np.ones(SHAPE, np.int16), description="Jane Doe 1950")
    image = nib.load(reference)
    image.header["intent_name"] = b"Jane Doe"
    image.header["aux_file"] = b"Jane Doe"
    image.header["db_name"] = b"Jane Doe"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(image, tmp_path / "named.nii")
    assert b"Jane" in (tmp_path / "named.nii").read_bytes()
    mask = np.ones(SHAPE, np.bool_)
    write_mask(mask, tmp_path / "named.nii", tmp_path / "a.nii.gz")
    write_mask(mask, tmp_path / "named.nii", tmp_path / "b.nii.gz")
    packed = (tmp_path / "a.nii.gz").read_bytes()
    assert b"Jane" not in gzip.decompress(packed)
    assert packed == (tmp_path / "b.nii.gz").read_bytes()
    assert read_volume(tmp_path / "named.nii").array.shape == SHAPE


def test_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    reference = write_nifti(tmp_path / "scan.nii", np.ones(SHAPE, np.int16))
    with pytest.raises(InputError, match=r"scan\.nii: shape"):
        write_mask(np.ones((3, 4, 6), np.bool_), reference, tmp_path / "mask.nii")
    assert not (tmp_path / "mask.nii").exists()


def _header_with(path: Path, **fields: Any) -> None:
    raw = bytearray(path.read_bytes())
    header = nib.Nifti1Header.from_fileobj(path.open("rb"), check=False)
    for field, value in fields.items():
        header[field] = value
    raw[:348] = header.binaryblock
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": b"xyz"}, "wrong magic"),
        ({"magic": b"ni1"}, "NIfTI pair"),
        ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, "voxel size"),
        ({"pixdim": [1, 1, np.nan, 1, 0, 0, 0, 0]}, "voxel size"),
        ({"srow_x": [0, 0, 0, 0]}, "affine is singular"),
        ({"srow_x": [np.inf, 0, 0, 0]}, "affine is singular"),
        ({"datatype": 999}, "damaged"),
        ({"datatype": 32, "bitpix": 64}, "type complex64"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "cut short"),
        ({"dim": [2, 3, 4, 1, 1, 1, 1, 1]}, "2 axes"),
        ({"dim": [4, 3, 4, 1, 5, 1, 1, 1]}, "4 axes"),
        ({"dim": [3, 3, 0, 5, 1, 1, 1, 1]}, "no voxels"),
        ({"xyzt_units": 1}, "lengths are in meter"),
        ({"vox_offset": np.nan}, "damaged"),
        ({"sform_code": 99}, "sform_code is 99, no code of NIfTI"),
        ({"sform_code": -1}, "sform_code is -1"),
        ({"qform_code": 7}, "qform_code is 7"),
        ({"qform_code": 1, "pixdim": [5, 0.8, 0.9, 1.1, 0, 0, 0, 0]}, "qfac, "),
    ],
)
def test_damaged_headers_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = write_nifti(tmp_path / "scan.nii", np.ones(SHAPE, np.int16))
    _header_with(path, **fields)
    with pytest.raises(InputError, match=message) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    array = np.ones(SHAPE, np.float64)
    array[2, 3, 4] = value
    path = write_nifti(tmp_path / "scan.nii.gz", array)
    with pytest.raises(InputError, match="NaN or infinite"):
        read_volume(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_every_cut_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    whole = write_nifti(tmp_path / name, np.random.default_rng(1).integers(0, 900, (8, 8, 8)).astype(np.int16)).read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=name):
        read_volume(path)
    with suppress(InputError):  # the header may be whole
        write_mask(np.ones((8, 8, 8), np.bool_), path, tmp_path / "mask.nii")


def test_missing_file_folder_and_flipped_bits_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.nii: cannot be read"):
        read_volume(tmp_path / "none.nii")
    with pytest.raises(InputError, match="is a folder"):
        read_volume(tmp_path)
    path = write_nifti(tmp_path / "scan.nii.gz", np.random.default_rng(1).integers(0, 900, (8, 8, 8)).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        read_volume(path)


def test_masks_take_any_number_type_with_exact_values(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 3] = True
    for kind in (np.uint8, np.int16, np.float32, np.float64):
        path = write_nifti(tmp_path / f"{np.dtype(kind).name}.nii.gz", mask.astype(kind))
        loaded = load_mask(path).volume.array
        assert loaded.dtype == np.bool_
        np.testing.assert_array_equal(loaded, mask)


@pytest.mark.parametrize("value", [2.0, 255.0, 0.5, -1.0, 1.0001])
def test_masks_with_other_values_are_refused(tmp_path: Path, value: float) -> None:
    mask = np.zeros(SHAPE, np.float64)
    mask[1], mask[2, 0, 0] = 1, value
    with pytest.raises(InputError, match="instead of only 0 and 1"):
        load_mask(write_nifti(tmp_path / "mask.nii", mask))


def test_a_mask_of_0_and_255_is_one(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2, 3] = 255
    np.testing.assert_array_equal(load_mask(write_nifti(tmp_path / "mask.nii", mask)).volume.array, mask > 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match="is a pipe"):
        read_volume(tmp_path / "scan.nii.gz")


def test_empty_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mask\.nii: is empty"):
        load_mask(write_nifti(tmp_path / "mask.nii", np.zeros(SHAPE, np.uint8)))
