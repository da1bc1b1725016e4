"""Tubes of .tre files drawn into labels: voxel by voxel by hand, and bad files of one line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from angiosynth.data.nifti import Volume
from angiosynth.errors import InputError
from angiosynth.importing import tubes
from angiosynth.importing.tubes import drawn_tubes, read_tubes
from angiosynth.runtime.output import read_json
from tests.factories import Array
from tests.importing.lab import call_import, save
from tests.importing.test_foreign_lab import mended

SHAPE = (9, 9, 7)
COLUMNS = "x y z r rn mn bn mk v1x v1y v1z v2x v2y v2z tx ty tz a1 a2 a3 red green blue alpha id"


def tube(points: Sequence[Sequence[float]], **changes: str) -> str:
    """A tube as TubeTK writes it: x, y, z and r of each point, then columns that are not used."""
    fields = {
        "ObjectType": "Tube",
        "ObjectSubType": "Vessel",
        "NDims": "3",
        "ID": "12",
        "ParentID": "-1",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": "0.5 0.5 2",
        "ParentPoint": "-1",
        "Root": "True",
        "PointDim": COLUMNS,
        "NPoints": str(len(points)),
        **changes,
    }
    lines = [" ".join(map(str, [*point, *[0] * (len(COLUMNS.split()) - 4)])) for point in points]
    return "".join(f"{key} = {value}\n" for key, value in fields.items()) + "Points = \n" + "".join(f"{line} \n" for line in lines)


def scene(*objects: str) -> str:
    return f"ObjectType = Scene\nNDims = 3\nNObjects = {len(objects)}\n" + "".join(objects)


def grid(spacing: tuple[float, float, float] = (0.5, 0.5, 2.0), shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A scan whose stored order is LPS from the origin, in canonical order: x and y run the other way, from -(n - 1) * spacing."""
    affine = np.diag([*spacing, 1.0])
    affine[:2, 3] = [-(shape[0] - 1) * spacing[0], -(shape[1] - 1) * spacing[1]]
    return Volume(np.zeros(shape, np.float32), affine, spacing)


def drawn(path: Path, text: str, scan: Volume | None = None) -> Array:
    """The label in stored (LPS) order, so that its indices are those of the file."""
    path.write_text(text)
    mask, _ = drawn_tubes(path, scan or grid())
    return mask[::-1, ::-1]


def test_a_ball_by_hand(tmp_path: Path) -> None:
    """Radius 1 voxel of 0.5 mm about (4, 4, 3): the voxel and its four neighbours in the plane; the next slice is 2 mm away."""
    mask = drawn(tmp_path / "a.tre", scene(tube([[4, 4, 3, 1]])))
    assert sorted(map(tuple, np.argwhere(mask).tolist())) == [(3, 4, 3), (4, 3, 3), (4, 4, 3), (4, 5, 3), (5, 4, 3)]


def test_a_straight_tube_by_hand(tmp_path: Path) -> None:
    """Along x from 2 to 6, radius 1 voxel: a bar of five, its neighbours in y, and a cap of one voxel at each end."""
    mask = drawn(tmp_path / "a.tre", scene(tube([[2, 4, 3, 1], [6, 4, 3, 1]])))
    expected = {(x, 4, 3) for x in range(1, 8)} | {(x, y, 3) for x in range(2, 7) for y in (3, 5)}
    assert set(map(tuple, np.argwhere(mask).tolist())) == expected


def test_the_radius_changes_along_the_line(tmp_path: Path) -> None:
    """From 1 to 3 voxels over four: at x = 4, the middle, it is 2."""
    mask = drawn(tmp_path / "a.tre", scene(tube([[2, 4, 3, 1], [6, 4, 3, 3]])))
    assert [int(mask[x, 4:, 3].sum()) - 1 for x in (2, 4, 6)] == [1, 2, 3]


def test_along_z_distances_are_in_mm(tmp_path: Path) -> None:
    """Radius 2 voxels of 0.5 mm = 1 mm, slices 2 mm apart: no slice beyond the ends."""
    mask = drawn(tmp_path / "a.tre", scene(tube([[4, 4, 2, 2], [4, 4, 4, 2]])))
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [2, 3, 4]
    assert int(mask[:, :, 3].sum()) == 13  # of a circle of radius 2


def test_a_tube_thinner_than_a_voxel_is_not_lost(tmp_path: Path) -> None:
    points = [[2 + 0.25 * step, 4.4, 3.4, 0.05] for step in range(17)]
    mask = drawn(tmp_path / "a.tre", scene(tube(points)))
    assert np.argwhere(mask).tolist() == [[x, 4, 3] for x in range(2, 7)]


def test_offset_and_spacing_say_where_a_point_lies(tmp_path: Path) -> None:
    """Spacing 1 and offset (1, 0, 2): (1, 2, 2) lies at (2, 2, 4) mm, which is voxel (4, 4, 2) of 0.5, 0.5, 2 mm."""
    mask = drawn(tmp_path / "a.tre", tube([[1, 2, 2, 0.4]], ElementSpacing="1 1 1", Offset="1 0 2"))
    assert np.argwhere(mask).tolist() == [[4, 4, 2]]


def test_several_tubes_and_objects_that_are_none(tmp_path: Path) -> None:
    group = "ObjectType = Group\nNDims = 3\nID = 2\nEndGroup =\n"
    text = scene(group, tube([[1, 1, 1, 0.5]]), tube([[7, 7, 5, 0.5]], ParentID="12"))
    mask = drawn(tmp_path / "a.tre", text)
    assert np.argwhere(mask).tolist() == [[1, 1, 1], [7, 7, 5]]
    assert drawn_tubes(tmp_path / "a.tre", grid())[1] == "vessels: 2 tubes of 2 points drawn"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(*(st.floats(1, length - 2) for length in SHAPE), st.floats(0.2, 3)), min_size=1, max_size=4),
    st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2), st.floats(0.4, 1.2)),
)
def test_a_voxel_is_set_where_it_is_within_the_radius(tmp_path: Path, points: list[tuple[float, ...]], spacing: tuple[float, ...]) -> None:
    """Against the definition on the whole grid at once; the voxel of a point is set in any case, and within 1e-6 mm either is right."""
    scan = grid((spacing[0], spacing[1], spacing[2]))
    mask = drawn(tmp_path / "a.tre", tube(points, ElementSpacing=" ".join(map(repr, spacing))), scan)
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    excess = np.full(SHAPE, np.inf)  # mm by which a voxel lies beyond the radius
    holds = np.zeros(SHAPE, bool)
    for a, b in zip(points, points[1:] or points, strict=False):
        start, line = np.array(a[:3]) * spacing, (np.array(b[:3]) - a[:3]) * spacing
        length2 = float(line @ line)
        along = np.clip((voxels * spacing - start) @ line / length2, 0, 1) if length2 else np.zeros(SHAPE)
        distance = np.linalg.norm(voxels * spacing - start - along[..., None] * line, axis=-1)
        excess = np.minimum(excess, distance - spacing[0] * (a[3] + along * (b[3] - a[3])))
    for point in points:
        holds |= (np.abs(voxels - point[:3]) <= 0.5 + 1e-6).all(axis=-1)
    assert mask[excess < -1e-6].all()
    assert not mask[(excess > 1e-6) & ~holds].any()
    surely = np.array([np.rint(point[:3]).astype(int) for point in points if (np.abs(np.modf(point[:3])[0] - 0.5) > 1e-6).all()])
    assert all(mask[tuple(voxel)] for voxel in surely)


BAD = {
    "no tube": (scene(), "holds no tube"),
    "an image": ("ObjectType = Image\nNDims = 3\nElementDataFile = LOCAL\n", "holds no tube"),
    "empty": ("", "holds no tube"),
    "cut within points": (tube([[4, 4, 3, 1]] * 3).rsplit("\n", 3)[0] + "\n", "is cut short, 2 points|is cut short, 1 points"),
    "more points than lines": (tube([[4, 4, 3, 1]], NPoints="5"), "is cut short, 4 points"),
    "fewer points than lines": (tube([[4, 4, 3, 1]] * 3, NPoints="2"), "stands where a field should"),
    "no points": (tube([], NPoints="0"), "a tube has 0 points"),
    "a negative number of points": (tube([[4, 4, 3, 1]], NPoints="-1"), "a tube has -1 points"),
    "a billion points": (tube([[4, 4, 3, 1]], NPoints="1000000000"), "1 to 1,000,000 are read"),
    "NaN": (tube([["nan", 4, 3, 1]]), "a point is 'nan"),  # type: ignore[list-item]
    "infinity": (tube([["1e999", 4, 3, 1]]), "a point is '1e999"),  # type: ignore[list-item]
    "radius 0": (tube([[4, 4, 3, 0]]), "which no vessel has"),
    "radius of a head": (tube([[4, 4, 3, 300]]), "which no vessel has"),
    "spacing 0": (tube([[4, 4, 3, 1]], ElementSpacing="0 0.5 2"), "which no vessel has"),
    "spacing NaN": (tube([[4, 4, 3, 1]], ElementSpacing="nan 0.5 2"), "ElementSpacing is 'nan"),
    "too few numbers": (tube([[4, 4, 3, 1]], PointDim=COLUMNS + " extra"), "numbers are needed"),
    "no radius": (tube([[4, 4, 3, 1]], PointDim=COLUMNS.replace(" r ", " q ")), "the columns x, y, z and r"),
    "two dimensions": (tube([[4, 4, 3, 1]], NDims="2"), "tubes of 2 dimensions"),
    "binary": (tube([[4, 4, 3, 1]], BinaryData="True"), "binary form"),
    "turned": (tube([[4, 4, 3, 1]], TransformMatrix="0 1 0 -1 0 0 0 0 1"), "turned by a TransformMatrix"),
    "shifted against a parent": (tube([[4, 4, 3, 1]], Offset="1 0 0", ParentID="3"), "shifted against their parents"),
    "elsewhere": (tube([[400, 4, 3, 1]]), "1 of 1 points lie outside the scan"),
    "no text": ("ObjectType = T\u00fcbe\n", "is no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tubes_are_one_line(tmp_path: Path, case: str) -> None:
    text, told = BAD[case]
    (tmp_path / "a.tre").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told) as caught:
        drawn_tubes(tmp_path / "a.tre", grid())
    assert str(caught.value).startswith(f"{tmp_path / 'a.tre'}: ")
    assert "\n" not in str(caught.value)


def test_tubes_that_would_be_drawn_for_hours_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tubes, "MOST_WORK", 2000)
    with pytest.raises(InputError, match="fill more than any head's"):
        drawn(tmp_path / "a.tre", tube([[4, 4, 3, 4], [5, 4, 3, 4]] * 20))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tre: cannot be read"):
        read_tubes(tmp_path / "none.tre")


def test_tubes_are_imported_as_labels_and_no_scan(tmp_path: Path, project: Path) -> None:
    scan, brain, _ = mended(1)
    affine = np.diag([-0.8, -0.9, 1.1, 1.0])
    save(tmp_path / "lab" / "a_tof.nii", scan, affine)
    save(tmp_path / "lab" / "a_brain.nii", brain, affine)
    points = [[8 + 0.5 * step, 12, 2, 1] for step in range(8)]
    (tmp_path / "lab" / "a_v.tre").write_text(tube(points, ElementSpacing="0.8 0.9 1.1"))
    words = ("--scan", "*_tof", "--vessels", "*_v", "--brain", "*_brain")
    (project / "dvc.yaml").write_text("stages: {}\n")
    code, output = call_import(tmp_path / "lab", *words, "-o", str(tmp_path / "site"))
    assert code == 0, output
    assert "vessels: 1 tubes of 8 points drawn" in output
    tubes = hashlib.sha256((tmp_path / "lab" / "a_v.tre").read_bytes()).hexdigest()
    assert read_json(project / "lineage" / "import-site.json")["inputs"]["vessels-1"] == tubes
    assert "holds tubes, no image" in call_import(tmp_path / "lab", "--scan", "*_v", "--vessels", "", "--brain", "", "--dry-run")[1]
