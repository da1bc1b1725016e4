"""Headers that describe their grid twice: which description is taken, and when none is.

Neighbours tried: sform of identity, scaled, in metres, of zero or tiny columns, sheared, flipped, turned and shifted against the qform,
under one code and under two; a qform that is no rotation; neither form; rounding that must not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from angiosynth.data.geometry import GridSource, grid_of
from angiosynth.errors import InputError
from tests.factories import Array, nib

SPACING = (0.6, 0.5, 0.8)
SCAN = Path("scan.nii")


Triple = tuple[float, float, float]


def _affine(spacing: Triple = SPACING, turn: Array | None = None, origin: Triple = (1, 2, 3)) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * spacing
    affine[:3, 3] = origin
    return affine


def _turn(degrees: float) -> Array:
    return np.asarray(Rotation.from_euler("xyz", [degrees, degrees, 0], degrees=True).as_matrix())


def _header(sform: Array | None, qform: Array | None, spacing: tuple[float, ...] = SPACING, codes: tuple[int, int] = (1, 1)) -> Any:
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    if qform is not None:
        header.set_qform(qform, codes[1])
    if sform is not None:
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = sform[row]
        header["sform_code"] = codes[0]
    header["pixdim"][1:4] = spacing
    return header


SHEARED = _affine() @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SQUARE = (0.6, 0.6, 0.8)
FLIPPED = np.diag([-1.0, 1, 1, 1]) @ _affine()
CONFLICTS: dict[str, tuple[Any, str]] = {
    "identity": (_header(np.eye(4), None), r"1 x 1 x 1 mm by its sform and 0.6 x 0.5 x 0.8 mm by its pixdim"),
    "identity beside a qform": (_header(np.eye(4), _affine()), "1 x 1 x 1 mm by its sform"),
    "one axis scaled": (_header(_affine((0.6, 0.5, 0.9)), None), "0.9 mm by its sform"),
    "two hundredths off": (_header(_affine((0.612, 0.5, 0.8)), None), "0.612 x"),
    "metres": (_header(_affine((6e-4, 5e-4, 8e-4)), None), "0.0006 x"),
    "a column of zeros": (_header(_affine((0, 0.5, 0.8)), _affine()), "affine is singular or not a number by its sform"),
    "not a number": (_header(_affine((np.nan, 0.5, 0.8)), _affine()), "affine is singular or not a number by its sform"),
    "sheared": (_header(SHEARED, None, tuple(np.linalg.norm(SHEARED[:3, :3], axis=0))), "sheared"),
    "flipped": (_header(FLIPPED, _affine()), "LAS by the sform and RAS by the qform"),
    "axes exchanged": (_header(_affine(SQUARE, np.eye(3)[[1, 0, 2]]), _affine(SQUARE), SQUARE), "ARS by the sform"),
    "turned under one code": (_header(_affine(turn=_turn(5)), _affine()), "turned"),
    "shifted under one code": (_header(_affine(), _affine(origin=(1, 2, 4))), "shifted"),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_header_that_contradicts_itself_is_refused(name: str) -> None:
    header, output = CONFLICTS[name]
    with pytest.raises(InputError, match=output) as caught:
        grid_of(header, SCAN)
    assert "\n" not in str(caught.value)
    assert "--geometry" in str(caught.value)


def test_a_qform_that_is_no_rotation_is_refused() -> None:
    header = _header(_affine(), _affine())
    header["quatern_b"] = header["quatern_c"] = 0.9
    with pytest.raises(InputError, match="qform is no rotation"):
        grid_of(header, SCAN)
    assert grid_of(header, SCAN, "sform").source == "sform"
    with pytest.raises(InputError, match="has no qform"):
        grid_of(header, SCAN, "qform")


PREFERRED = [("sform", (1, 1, 1), "LAS"), ("qform", SPACING, "RAS"), ("pixdim", SPACING, "LAS")]


@pytest.mark.parametrize(("prefer", "spacing", "orientation"), PREFERRED)
def test_the_preferred_description_is_taken(prefer: GridSource, spacing: tuple[float, ...], orientation: str) -> None:
    grid = grid_of(_header(np.diag([-1.0, 1, 1, 1]), _affine()), SCAN, prefer)
    assert (grid.source, grid.orientation) == (prefer, orientation)
    np.testing.assert_allclose(grid.spacing_mm, spacing, rtol=1e-6)
    assert grid.conflict


def test_pixdim_stands_in_for_an_sform_of_zeros() -> None:
    header = _header(np.zeros((4, 4)), None)
    with pytest.raises(InputError, match="affine is singular"):
        grid_of(header, SCAN)
    np.testing.assert_allclose(grid_of(header, SCAN, "pixdim").spacing_mm, SPACING, rtol=1e-6)


def test_pixdim_straightens_a_sheared_sform() -> None:
    header = _header(SHEARED, None, SPACING)
    grid = grid_of(header, SCAN, "pixdim")
    directions = grid.affine[:3, :3] / np.array(SPACING)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    with pytest.raises(InputError, match="sheared"):
        grid_of(header, SCAN, "sform")


SOUND: dict[str, tuple[Any, GridSource]] = {
    "both forms": (_header(_affine(), _affine()), "sform"),
    "sform alone": (_header(_affine(), None), "sform"),
    "qform alone": (_header(None, _affine(turn=_turn(20))), "qform"),
    "neither": (_header(None, None), "pixdim"),
    "two spaces, turned and shifted": (_header(_affine(turn=_turn(5), origin=(90, 0, 0)), _affine(), codes=(4, 1)), "sform"),
    "rounded to two digits": (_header(_affine((0.35, 0.35, 0.5)), None, (0.3516, 0.3516, 0.5)), "sform"),
    "an unset sform that is nonsense": (_header(np.eye(4), _affine(), codes=(0, 1)), "qform"),
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("prefer", [None, "sform", "qform", "pixdim"])
def test_a_sound_header_is_taken_as_it_stands_whatever_is_preferred(name: str, prefer: GridSource | None) -> None:
    header, source = SOUND[name]
    grid = grid_of(header, SCAN, prefer)
    assert (grid.source, grid.conflict) == (source, "")
    np.testing.assert_allclose(grid.affine, header.get_best_affine(), atol=1e-6)


@pytest.mark.parametrize("spacing", [(6e-4, 6e-4, 6e-4), (600, 600, 600), (0.6, 0.6, 1e-5)])
def test_voxels_that_are_no_heads_are_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="which are no head's; write lengths in mm"):
        grid_of(_header(_affine(spacing), None, spacing), SCAN)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(0.1, 5)] * 3), st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.booleans()] * 3))
def test_every_rotation_and_flip_is_sound(spacing: tuple[float, float, float], angles: tuple[float, ...], flips: tuple[bool, ...]) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * [-1 if flip else 1 for flip in flips]
    affine = _affine(spacing, turn)
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    grid = grid_of(header, SCAN)
    assert grid.conflict == ""
    np.testing.assert_allclose(grid.spacing_mm, spacing, rtol=1e-4)
