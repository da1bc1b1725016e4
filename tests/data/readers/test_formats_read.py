"""Other formats than NIfTI: the same voxels at the same places, by hand and by SimpleITK, in every orientation, type and byte order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.nifti import canonical_shape, load_volume, read_volume, write_mask
from angiosynth.errors import InputError
from tests.factories import Array, affine_of, nib
from tests.foreign import TO_LPS, stored_as, write_meta, write_nrrd, write_pair, write_series

ORIENTATIONS = ["".join(code) for axes in itertools.permutations(("RL", "AP", "SI")) for code in itertools.product(*axes)]
SHAPE = (3, 4, 5)
WRITERS: dict[str, Callable[[Path, Array, Array], Path]] = {
    "mha": lambda folder, array, affine: write_meta(folder / "scan.mha", array, affine),
    "mha packed": lambda folder, array, affine: write_meta(folder / "scan.mha", array, affine, packed=True),
    "mhd": lambda folder, array, affine: write_meta(folder / "scan.mhd", array, affine),
    "mhd packed": lambda folder, array, affine: write_meta(folder / "scan.mhd", array, affine, packed=True),
    "nrrd": lambda folder, array, affine: write_nrrd(folder / "scan.nrrd", array, affine),
    "nrrd packed": lambda folder, array, affine: write_nrrd(folder / "scan.nrrd", array, affine, packed=True),
    "nhdr": lambda folder, array, affine: write_nrrd(folder / "scan.nhdr", array, affine),
    "nhdr packed": lambda folder, array, affine: write_nrrd(folder / "scan.nhdr", array, affine, packed=True),
    "pair": lambda folder, array, affine: write_pair(folder / "scan.hdr", array, affine),
    "pair packed": lambda folder, array, affine: write_pair(folder / "scan.hdr", array, affine, packed=True),
    "dicom": lambda folder, array, affine: write_series(folder / "series", array, affine),
}
ONCE = ("mha", "nrrd", "pair", "dicom")  # of each reader one
SAMPLED = ("RAS", "LPS", "LAS", "PIR", "SAL", "ILA", "ARS", "RSP")  # for slices, which take long to write
VALUES = np.arange(60, dtype="<i2").reshape(SHAPE) - 7


def oblique() -> Array:
    """Turned by 0.3 about z; the first voxel at (-10, 5, 3), as the files of `test_a_corner_by_hand`."""
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    affine = affine_of()
    affine[:3, :3] = turn @ affine[:3, :3]
    return affine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_reads_as_the_same_canonical_volume(tmp_path: Path, orientation: str) -> None:
    stored, affine = stored_as(VALUES, orientation)
    for name in ONCE if orientation in SAMPLED else ONCE[:-1]:
        path = WRITERS[name](tmp_path, stored, affine)
        loaded = load_volume(path)
        np.testing.assert_array_equal(loaded.volume.array, VALUES, err_msg=name)
        np.testing.assert_allclose(loaded.volume.affine, affine_of(), atol=1e-5, err_msg=name)
        assert canonical_shape(path) == SHAPE
        assert loaded.grid.conflict == ""
        if name != "dicom":  # whose slices are put into the order of their normal
            assert loaded.orientation == orientation


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("kind", ["|u1", "|i1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4"])
def test_every_type_and_byte_order(tmp_path: Path, name: str, kind: str) -> None:
    array = (VALUES + 7 if "u" in kind else VALUES).astype(kind)
    np.testing.assert_array_equal(read_volume(WRITERS[name](tmp_path, array, affine_of())).array, array)


@pytest.mark.parametrize("name", [name for name in WRITERS if "dicom" not in name])
@pytest.mark.parametrize("kind", ["<f4", ">f8", ">i8"])
def test_every_type_that_dicom_has_not(tmp_path: Path, name: str, kind: str) -> None:
    array = VALUES.astype(kind)
    np.testing.assert_array_equal(read_volume(WRITERS[name](tmp_path, array, affine_of())).array, array)


# Headers as SimpleITK 2.5 writes them, of spacing 0.8, 0.9, 1.1, origin (10, -5, 3), turned by 0.3.
AS_SIMPLEITK = {
    "scan.mha": (
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        b"TransformMatrix = 0.95533648912560598 0.29552020666133955 0 -0.29552020666133955 0.95533648912560598 0 0 0 1\n"
        b"Offset = 10 -5 3\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n"
        b"ElementSpacing = 0.80000000000000004 0.90000000000000002 1.1000000000000001\nDimSize = 3 4 5\nElementType = MET_SHORT\n"
        b"ElementDataFile = LOCAL\n"
    ),
    "scan.nrrd": (
        b"NRRD0004\n# Complete NRRD file format specification at:\n# http://teem.sourceforge.net/nrrd/format.html\ntype: short\n"
        b"dimension: 3\nspace: left-posterior-superior\nsizes: 3 4 5\n"
        b"space directions: (0.76426919130048487,0.23641616532907164,0) (-0.26596818599520561,0.85980284021304543,0) "
        b"(0,0,1.1000000000000001)\nkinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (10,-5,3)\n\n"
    ),
}


@pytest.mark.parametrize("name", AS_SIMPLEITK)
def test_a_corner_by_hand(tmp_path: Path, name: str) -> None:
    """Voxel (2, 3, 4) lies at x 10 + 0.955336 * 1.6 - 0.295520 * 2.7, y -5 + 0.295520 * 1.6 + 0.955336 * 2.7, z 3 + 4.4; RAS turns x, y."""
    path = tmp_path / name
    path.write_bytes(AS_SIMPLEITK[name] + VALUES.tobytes(order="F"))
    loaded = load_volume(path)
    assert loaded.orientation == "LPS"
    np.testing.assert_allclose((loaded.grid.affine @ [2, 3, 4, 1])[:3], [-10.730634, 1.947759, 7.4], atol=1e-5)
    # canonical order turns the two first axes: stored (2, 3, 4) is (0, 0, 4)
    assert loaded.volume.array[0, 0, 4] == VALUES[2, 3, 4]
    np.testing.assert_allclose((loaded.volume.affine @ [0, 0, 4, 1])[:3], [-10.730634, 1.947759, 7.4], atol=1e-5)


def test_a_corner_of_a_dicom_series_by_hand(tmp_path: Path) -> None:
    """Columns are 0.8 mm apart along (0.6, 0.8, 0), rows 0.9 mm along (-0.8, 0.6, 0), slices 1.1 mm along z, from (1, 2, 3)."""

    def turned(one, k: int) -> None:  # type: ignore[no-untyped-def]
        one.ImageOrientationPatient, one.PixelSpacing = [0.6, 0.8, 0, -0.8, 0.6, 0], [0.9, 0.8]
        one.ImagePositionPatient = [1, 2, 3 + 1.1 * k]

    loaded = load_volume(write_series(tmp_path / "series", VALUES, affine_of(), change=turned))
    # (2, 3, 4): x 1 + 2 * 0.48 - 3 * 0.72 = -0.2, y 2 + 2 * 0.64 + 3 * 0.54 = 4.9, z 7.4; RAS turns x and y
    np.testing.assert_allclose((loaded.grid.affine @ [2, 3, 4, 1])[:3], [0.2, -4.9, 7.4], atol=1e-5)
    assert loaded.stored_shape == SHAPE


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL", "ILA", "ARS"])
@pytest.mark.parametrize("name", ["mha packed", "mhd", "nrrd packed", "nhdr", "pair", "dicom"])
def test_simpleitk_has_the_same_voxels_at_the_same_places(tmp_path: Path, name: str, orientation: str) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    stored, affine = stored_as(VALUES, orientation, oblique())
    path = WRITERS[name](tmp_path, stored, affine)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else str(path)
    image = sitk.ReadImage(names)
    loaded = load_volume(path)
    for x, y, z in itertools.product(range(3), range(4), range(5)):
        place = loaded.volume.affine @ [x, y, z, 1]
        assert image[image.TransformPhysicalPointToIndex((TO_LPS @ place)[:3].tolist())] == loaded.volume.array[x, y, z]
    for corner in itertools.product(*((0, length - 1) for length in image.GetSize())):
        np.testing.assert_allclose(
            TO_LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(corner), (loaded.grid.affine @ [*corner, 1])[:3], atol=1e-4
        )


@pytest.mark.parametrize("name", ["mha", "nrrd", "dicom", "pair"])
def test_a_mask_is_written_on_the_grid(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path, *stored_as(VALUES, "PIR"))
    loaded = load_volume(path)
    write_mask(loaded.volume.array > 20, path, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, loaded.grid.affine, atol=1e-5)
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.nii.gz").array, VALUES > 20)


def test_a_last_axis_of_one_is_dropped(tmp_path: Path) -> None:
    header = {"NDims": "4", "DimSize": "3 4 5 1", "ElementSpacing": "0.8 0.9 1.1 1", "Offset": "0 0 0 0"}
    path = write_meta(tmp_path / "scan.mha", VALUES, affine_of(), False, TransformMatrix=" ".join(map(str, np.eye(4).ravel())), **header)
    assert read_volume(path).array.shape == SHAPE
    path = write_nrrd(tmp_path / "scan.nrrd", VALUES[..., None], affine_of(), space_directions="(-1,0,0) (0,-1,0) (0,0,1) none")
    np.testing.assert_array_equal(read_volume(path).array, VALUES)


def test_what_metaimage_leaves_out_is_unturned_and_at_the_origin_as_metaio_has_it(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "scan.mha", VALUES, affine_of(), TransformMatrix=None, Offset=None)
    assert load_volume(path).orientation == "LPS"
    np.testing.assert_allclose(load_volume(path).grid.affine, np.diag([-0.8, -0.9, 1.1, 1]), atol=1e-6)


def test_voxels_behind_another_header_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(b"x" * 50 + VALUES.tobytes(order="F"))
    for skip in ("50", "-1"):
        for path, text in (
            (tmp_path / "scan.mhd", write_meta(tmp_path / "a.mha", VALUES, affine_of(), HeaderSize=skip)),
            (tmp_path / "scan.nhdr", write_nrrd(tmp_path / "a.nrrd", VALUES, affine_of(), byte_skip=skip, data_file="scan.raw")),
        ):
            path.write_bytes(text.read_bytes()[: -VALUES.nbytes].replace(b"= LOCAL", b"= scan.raw"))
            np.testing.assert_array_equal(read_volume(path).array, VALUES)


def test_analyze_is_taken_by_the_users_word_alone(tmp_path: Path) -> None:
    header = nib.AnalyzeHeader()
    header.set_data_dtype(np.int16)
    header.set_data_shape(SHAPE)
    header["pixdim"][1:4] = (0.8, 0.9, 1.1)
    (tmp_path / "scan.hdr").write_bytes(bytes(header.binaryblock))
    (tmp_path / "scan.img").write_bytes(VALUES.tobytes(order="F"))
    for path in (tmp_path / "scan.hdr", tmp_path / "scan.img"):
        with pytest.raises(InputError, match=r"is Analyze 7\.5, which does not tell left from right; .*--geometry pixdim"):
            load_volume(path)
        loaded = load_volume(path, prefer="pixdim")
        assert (loaded.orientation, loaded.grid.source) == ("LAS", "pixdim")
        np.testing.assert_array_equal(loaded.volume.array, VALUES[::-1])


@pytest.mark.parametrize("bits", [12, 15, 16])
@pytest.mark.parametrize("kind", ["<u2", "<i2"])
def test_bits_above_those_in_use_are_no_part_of_a_value(tmp_path: Path, bits: int, kind: str) -> None:
    def overlay(one, k: int) -> None:  # type: ignore[no-untyped-def]
        one.BitsStored, one.HighBit = bits, bits - 1
        voxels = np.frombuffer(one.PixelData, "<u2").astype(int)
        one.PixelData = (voxels % 2**bits + (k % 2) * (2**16 - 2**bits)).astype("<u2").tobytes()

    array = (VALUES if "i" in kind else VALUES + 7).astype(kind)
    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "s", array, affine_of(), change=overlay)).array, array)


def test_a_slope_for_all_slices_and_one_for_each(tmp_path: Path) -> None:
    def alike(one, k: int) -> None:  # type: ignore[no-untyped-def]
        one.RescaleSlope, one.RescaleIntercept = "0.5", "-3"

    def each(one, k: int) -> None:  # type: ignore[no-untyped-def]
        one.RescaleSlope, one.RescaleIntercept = str(1 + k), "2"

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", VALUES, affine_of(), change=alike)).array, VALUES * 0.5 - 3)
    by_slice = VALUES * np.arange(1, 6) + 2
    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "b", VALUES, affine_of(), change=each)).array, by_slice)


def test_one_of_several_series_is_taken_by_its_number(tmp_path: Path) -> None:
    write_series(tmp_path / "s", VALUES, affine_of(), number=3, series="1.2.3")
    write_series(tmp_path / "s", VALUES[:, :, :4] + 1, affine_of(), number=2, series="1.2.4")
    (tmp_path / "s" / "notes.txt").write_text("no slice")
    with pytest.raises(InputError, match=r"holds 2 series, 2 \(4 slices of 3 x 4\), 3 \(5 slices of 3 x 4\); take one with --series"):
        load_volume(tmp_path / "s")
    with pytest.raises(InputError, match=r"holds no series 9, but 2 \(4"):
        load_volume(tmp_path / "s", series=9)
    np.testing.assert_array_equal(load_volume(tmp_path / "s", series=3).volume.array, VALUES)
    np.testing.assert_array_equal(load_volume(tmp_path / "s", series=2).volume.array, VALUES[:, :, :4] + 1)
    write_series(tmp_path / "s", VALUES + 1, affine_of(), number=3, series="1.2.5")
    with pytest.raises(InputError, match="holds 3 series"):
        load_volume(tmp_path / "s", series=3)


def test_the_digest_is_of_header_and_voxels(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "scan.mhd", VALUES, affine_of())
    before = load_volume(path).sha256
    assert load_volume(path).sha256 == before
    (tmp_path / "scan.raw").write_bytes((VALUES + 1).tobytes(order="F"))
    changed = load_volume(path).sha256
    assert changed != before
    write_meta(path, VALUES + 1, affine_of((0.8, 0.9, 1.2)))
    assert load_volume(path).sha256 not in (before, changed)
